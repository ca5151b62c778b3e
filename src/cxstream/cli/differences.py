"""Rows that differ, as lines: of `warehouse verify` and `sink verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Row = dict[str, Any]

# What aggregates, counts and the rest add up by.
_PLACES = (
    *(
        "day",
        "kind",
        "source",
        "channel",
        "touchpoint",
        "stage",
        "topic",
        "level_after",
        "dimension",
        "value",
    ),
    *("measure", "bucket", "reason", "digest", "partition"),
)


def lines(here: Sequence[Row], there: Sequence[Row]) -> Iterator[str]:
    """A line for each row that only one side has: what identifies it, and the columns that differ.

    Args:
        here: of what is verified.
        there: ... and of what it is compared with.
    """
    expected = {_identity(row): row for row in there}
    for row in here:
        other = expected.pop(_identity(row), None)
        if other is None:
            yield f"only here: {_named(row)}"
        else:
            differs = (f"{n}={row[n]}, expected {other[n]}" for n in row if row[n] != other[n])
            yield f"{_named(row)}: {'; '.join(differs)}"
    for row in expected.values():
        yield f"missing: {_named(row)}"


def _identity(row: Row) -> tuple[tuple[str, Any], ...]:
    """The columns that tell rows of a table apart: its place, else its id, its customer, or what it adds up."""
    for names in (("partition", "offset", "n"), ("id",), ("customer", "partition")):
        if names[0] in row and (names[0] != "partition" or "offset" in row):
            return tuple((name, row[name]) for name in names if name in row)
    return tuple((name, row[name]) for name in _PLACES if name in row)


def _named(row: Row) -> str:
    return ", ".join(f"{name}={value}" for name, value in _identity(row) if value is not None)
