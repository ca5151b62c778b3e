r"""How JSON is laid out in a text: one record a line, or values that span lines; and its encoding.

    bytes -> utf8 -> laid_out --> lines (\n, \r\n, or \r alone)    -> split
                              \-> arrays, indented JSON, RFC 7464  -> split_values

The first line decides, together with how the next one begins: a file of lines whose first one is broken stays a
file of lines. The decision depends on the bytes alone, and not on how they come in blocks.
"""

from __future__ import annotations

import codecs
import re
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeAlias

from cxstream.files.lines import split
from cxstream.files.values import split_values
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cxstream.files.lines import Records

Layout: TypeAlias = Literal["lines", "lines ended by CR", "values"]

_HEAD_BYTES = 64 << 10
_BOM = b"\xef\xbb\xbf"
_MAGIC_BYTES = 4
_BLANKS = b" \t\r\n"
_LINE_END = re.compile(rb"[\r\n]")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\]]')
_BRACKETS = (b"{", b"[")
_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    # Without a byte order mark: a bracket, or the blank before it, and a zero.
    (b"{\x00", "utf-16-le"),
    (b"[\x00", "utf-16-le"),
    (b"\x00{", "utf-16-be"),
    (b"\x00[", "utf-16-be"),
)
# What may follow a line that ends with this byte, if both belong to one JSON value.
_GOES_ON = {
    b"{": b'"}',
    b"[": b'"{[]-0123456789tfn',
    b",": b'"{[-0123456789tfn',
    b":": b'"{[-0123456789tfn',
}
_ELSE = b",}]:"


def json_records(
    blocks: Iterable[bytes],
    name: str,
    batch_bytes: int,
    max_record_bytes: int,
    give_back: Callable[[int], bool] | None = None,
) -> Iterator[Records]:
    """Split JSON text, whatever its layout.

    Args:
        blocks: the stream.
        name: what messages call the input.
        batch_bytes: about how many bytes come back at a time.
        max_record_bytes: a longer record comes back as too long, and is not held while it passes.
        give_back: see `split`.

    Raises:
        InputError: the text is no text, or cut off within a JSON array or indented JSON.
    """
    encoding, stream = _encoding(iter(blocks))
    layout, stream = laid_out(_decoded(encoding, stream, name), name)
    if layout == "values":
        yield from split_values(stream, name, max_record_bytes)
        return
    if layout == "lines ended by CR":
        stream, give_back = (block.replace(b"\r", b"\n") for block in stream), None
    yield from split(stream, batch_bytes, max_record_bytes, give_back if encoding is None else None)


def is_lines(blocks: Iterator[bytes], name: str) -> bool:
    """Whether a text is UTF-8 with one record a line.

    Raises:
        InputError: it is binary data.
    """
    encoding, stream = _encoding(blocks)
    return encoding is None and laid_out(stream, name)[0] == "lines"


def utf8(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same text in UTF-8, where it is UTF-16 or UTF-32.

    Raises:
        InputError: it is not what its first bytes say.
    """
    yield from _decoded(*_encoding(blocks), name)


def _decoded(encoding: str | None, stream: Iterator[bytes], name: str) -> Iterator[bytes]:
    """A text in UTF-8; `encoding` is None where it is already."""
    if encoding is None:
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in stream:
            if text := decoder.decode(block):  # an empty block would be the end
                yield text.encode()
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise InputError(
            f"{name}: {encoding.upper()} text that is broken or cut off ({error}); write it again in UTF-8"
        ) from error


def _encoding(blocks: Iterator[bytes]) -> tuple[str | None, Iterator[bytes]]:
    """The encoding of a text where it is not UTF-8, and the same text."""
    first = b""
    while len(first) < _MAGIC_BYTES and (block := next(blocks, b"")):
        first += block
    encoding = next((encoding for magic, encoding in _ENCODINGS if first.startswith(magic)), None)
    return encoding, chain(iter([first]), blocks)  # chain keeps its arguments: an iterator lets the block go


def laid_out(blocks: Iterator[bytes], name: str) -> tuple[Layout, Iterator[bytes]]:
    """How the text is laid out, and the same text without a byte order mark.

    Raises:
        InputError: it is binary data.
    """
    head = b""
    layout = None
    while layout is None:
        block = next(blocks, b"")
        head = head + block if block else head
        layout = _layout(head.removeprefix(_BOM), final=not block or len(head) >= _HEAD_BYTES)
    if layout == "lines" and b"\0" in head[:_HEAD_BYTES] and b"{" not in head[:_HEAD_BYTES]:
        raise InputError(f"{name}: binary data of an unknown format; name a file of JSON lines or Parquet")
    return layout, chain(iter([head.removeprefix(_BOM)] if head else []), blocks)


def _layout(head: bytes, *, final: bool) -> Layout | None:
    """The layout of a text that begins with `head`; None where more of it must be seen."""
    text = head.lstrip(_BLANKS)
    if text[:1] == b"\x1e":
        return "values"
    end = _LINE_END.search(text)
    if end is not None and (final or end.end() < len(text) or end.group() == b"\n"):
        return _by_first_line(text[: end.start()].rstrip(), text[end.start() :], final=final)
    if not final:
        return None
    return "values" if text[:1] == b"[" else "lines"


def _by_first_line(line: bytes, rest: bytes, *, final: bool) -> Layout | None:
    """The layout by the first line and what follows, which begins with the end of the line."""
    by_line: Layout = "lines ended by CR" if rest[:1] == b"\r" and rest[1:2] != b"\n" else "lines"
    state = _state(line)
    if line[:1] not in _BRACKETS or state == "in a string" or (state == "complete" and line[:1] == b"{"):
        return by_line
    following = rest.lstrip(_BLANKS)
    if not following and not final:
        return None
    if state == "complete":  # an array: the file, or a line that is no object among others
        return by_line if following[:1] in _BRACKETS else "values"
    return _after_incomplete(line, following, by_line, final=final)


def _after_incomplete(line: bytes, following: bytes, by_line: Layout, *, final: bool) -> Layout | None:
    """Whether a line that leaves brackets open goes on in the next one, or is a broken record."""
    if not following or following[0] not in _GOES_ON.get(line[-1:], _ELSE):
        return by_line
    if line[:1] == b"[" or following[:1] != b"{":
        return "values"
    # A record cut off after a comma, or an object with a list of objects, one a line.
    second, _, third = following.partition(b"\n")
    third = third.lstrip(_BLANKS)
    if not third and not final:
        return None
    whole = _state(second.rstrip()) == "complete" and second.rstrip()[-1:] == b"}"
    return by_line if whole and third[:1] == b"{" else "values"


def _state(line: bytes) -> Literal["complete", "incomplete", "in a string"]:
    """Whether the brackets that a line opens are closed in it."""
    depth = 0
    for token in _TOKEN.finditer(line):
        text = token.group()
        if text == b'"':
            return "in a string"
        if len(text) == 1:
            depth += 1 if text in b"{[" else -1
    return "complete" if depth <= 0 else "incomplete"
