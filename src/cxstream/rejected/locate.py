"""Where in the text of a record a field, or a byte that is no JSON, stands."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t\n\r]*")
_BYTE = re.compile(r"\(byte (\d+)\)")
_DECODER = json.JSONDecoder()
_AROUND = 60


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text.

    Attributes:
        text: the whole.
        start: its first character.
        end: the one after its last.
    """

    text: str
    start: int
    end: int

    def excerpt(self) -> tuple[str, str]:
        """The text around it on one line, and a line of carets below it."""
        begin, stop = max(0, self.start - _AROUND), min(len(self.text), self.end + _AROUND)
        before, after = "..." if begin else "", "..." if stop < len(self.text) else ""
        line = before + "".join(_shown(c) for c in self.text[begin:stop]) + after
        width = max(1, self.end - self.start)
        return line, " " * (len(before) + self.start - begin) + "^" * width


def _shown(character: str) -> str:
    """One column for each character, so that the carets stand where they should."""
    return character if character.isprintable() else "\N{MIDDLE DOT}"


def byte_of(message: str) -> int | None:
    """The position that the decoder's message names; None where it names none."""
    found = _BYTE.search(message)
    return int(found[1]) if found else None


def at_byte(raw: bytes, position: int) -> Span:
    """The character at a byte of a record."""
    start = len(raw[:position].decode(errors="replace"))
    return Span(raw.decode(errors="replace"), start, start + 1)


def at_path(raw: bytes, path: str) -> Span | None:
    """The value at a path of a record that is JSON; where it is missing, the object that should have it.

    None where there is no such object either. Of names that come twice the last counts, as for the decoder.
    """
    try:
        text = raw.decode()
        start, end = _skip(text, 0), len(text.rstrip())
        for name in path.split("."):
            found = _member(text, start, name)
            if found is None:
                break
            start, end = found
    except (ValueError, RecursionError, IndexError):
        return None
    return Span(text, start, end)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _member(text: str, at: int, name: str) -> tuple[int, int] | None:
    """Begin and end of the value of a member of the object that begins at `at`."""
    if text[at] != "{":
        return None
    found = None
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        if key == name:
            found = start, end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found
