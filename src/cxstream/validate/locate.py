"""Where in the text of a record a field, or a byte that is no JSON, stands.

The text is scanned, not parsed: a scan needs no recursion and reads numbers of any length. Bytes that are not UTF-8
stand as lone surrogates (`surrogateescape`), so that a text can be turned back into the bytes it came from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]+")
_BYTE = re.compile(r"\(byte (\d+)\)")
_STEP = re.compile(r"([^\[\]]*)((?:\[\d+\])*)")
_INDEX = re.compile(r"\[(\d+)\]")
_AROUND = 60

Range: TypeAlias = tuple[int, int]


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


def text_of(raw: bytes) -> str:
    """The text of a record, whatever its bytes are."""
    return raw.decode(errors="surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes that `text_of` has read."""
    return text.encode(errors="surrogateescape")


def at_path(raw: bytes, path: str) -> Span | None:
    """The value at a path of a record that is JSON; where it is missing, the object that should have it.

    None where there is no such object either. Of names that come twice the last counts, as for the decoder.
    """
    text = text_of(raw)
    try:
        here = _whole(text)
        for step in _steps(path):
            found = list(_inside(text, here, step))
            if not found:
                break
            here = found[-1]
    except ValueError:
        return None
    return Span(text, *here)


def values_at(text: str, path: str) -> list[Range]:
    """Every value at a path: more than one where a name comes twice.

    Args:
        text: a well-formed JSON object.
        path: names with dots in between, and numbers of items in brackets.
    """
    found = [_whole(text)]
    for step in _steps(path):
        found = [inner for outer in found for inner in _inside(text, outer, step)]
    return found


def patched(text: str, path: str, literal: str) -> str:
    """The text with another value wherever a path leads, also where the last name of the path is missing.

    Args:
        text: a well-formed JSON object.
        path: as of `values_at`.
        literal: the new value, in JSON.
    """
    changes = [(start, end, literal) for start, end in values_at(text, path)]
    above, _, name = path.rpartition(".")
    for start, end in values_at(text, above):
        if text[start] == "{" and not any(start < at < end for at, _, _ in changes):
            more = "" if next(members(text, start), None) is None else ","
            changes.append((start + 1, start + 1, f"{json.dumps(name)}:{literal}{more}"))
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def members(text: str, at: int) -> Iterator[tuple[str, Range]]:
    """The names of an object that begins at `at`, each with the place of its value.

    Raises:
        ValueError: the text is no JSON there.
    """
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        key = _match(_STRING, text, at)
        start = _skip(text, _skip(text, key.end()) + 1)
        end = _end(text, start)
        name = key[0][1:-1]
        yield json.loads(key[0], strict=False) if "\\" in name else name, (start, end)
        at = _after_comma(text, end)


def _items(text: str, at: int) -> Iterator[Range]:
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        end = _end(text, at)
        yield at, end
        at = _after_comma(text, end)


def _inside(text: str, outer: Range, step: str | int) -> Iterator[Range]:
    """The values that a name or an index leads to in a value."""
    opening = text[outer[0] : outer[0] + 1]
    if isinstance(step, str) and opening == "{":
        yield from (place for name, place in members(text, outer[0]) if name == step)
    elif isinstance(step, int) and opening == "[":
        yield from (place for i, place in enumerate(_items(text, outer[0])) if i == step)


def _steps(path: str) -> Iterator[str | int]:
    """The names and indices of a path."""
    for part in path.split(".") if path else ():
        found = _STEP.fullmatch(part)
        if found is None:
            yield part
            continue
        yield found[1]
        yield from map(int, _INDEX.findall(found[2]))


def _whole(text: str) -> Range:
    return _skip(text, 0), len(text.rstrip())


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _after_comma(text: str, at: int) -> int:
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at : at + 1] == "," else at


def _end(text: str, at: int) -> int:
    """Where the value that begins at `at` ends."""
    opening = text[at : at + 1]
    if opening == '"':
        return _match(_STRING, text, at).end()
    if opening not in ("{", "["):
        return _match(_SCALAR, text, at).end()
    depth = 0
    for token in _TOKEN.finditer(text, at):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    raise ValueError(f"a bracket at {at} that is not closed")


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is None:
        raise ValueError(f"no JSON at {at}")
    return found
