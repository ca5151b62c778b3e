"""Text of others, made fit for a terminal, a log line or a label: nothing in it moves a cursor or forges a line."""

from __future__ import annotations

_STAND_IN = "\N{MIDDLE DOT}"


def printable(text: str, *, lines: bool = False) -> str:
    """The text with a dot in the place of each control, format and line character.

    Args:
        text: whatever somebody else has written.
        lines: keep line feeds.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else _STAND_IN for c in text)
