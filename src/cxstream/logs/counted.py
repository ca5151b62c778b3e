"""How many of something, in words."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 record`, `3,000 records`; nouns that take an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def are(count: int) -> str:
    """The verb of so many: `is` or `are`."""
    return "is" if count == 1 else "are"


def were(count: int) -> str:
    """The verb of so many: `was` or `were`."""
    return "was" if count == 1 else "were"


def none_usable(records: int) -> str:
    """What to say where records cannot be used, however many there are."""
    if records > 1:
        return f"none of {records:,} records could be used"
    return "its only record could not be used" if records else "there is no record"
