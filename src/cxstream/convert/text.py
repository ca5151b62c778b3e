"""Lines of text out of bytes, with the encoding found and with lines that can be read again.

A byte that is no text must cost its own row only. It passes as a lone surrogate (U+DC00 plus the byte), which no
event can hold: a row that uses it is a problem of its own, other rows do not notice.
"""

from __future__ import annotations

import codecs
import io
from collections import deque
from typing import TYPE_CHECKING, Any

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.convert.report import Report
    from cxstream.convert.stream import Stream

MAX_LINE = 16 << 20
"""Characters of a line; what is longer is told as a problem and not kept."""

MAX_REREAD = 64 << 20
"""Characters of an input that may be read again after quotes that go wrong: a bound for what a hostile file costs."""

_BUFFER_BYTES = 1 << 20
_SAMPLE_BYTES = 4096
_BOM = "\ufeff"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ESCAPE = "cxstream.escape"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError) or error.reason == "truncated data":
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPE, _escaped)


def encoding_of(head: bytes, declared: str) -> str:
    """The encoding of a text: what its byte order mark says, else the NULs of UTF-16, else what is declared.

    >>> encoding_of("a;b".encode("utf-16"), "utf-8"), encoding_of("a;b".encode("utf-16-be"), "utf-8")
    ('utf-16-le', 'utf-16-be')
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if codecs_name(declared) == "utf-8" and len(head) > 1:
        # In UTF-16 every second byte of a Latin letter, digit or separator is NUL; in UTF-8 none is.
        pairs = len(head) // 2
        first, second = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
        if 2 * second >= pairs and 20 * first <= pairs:
            return "utf-16-le"
        if 2 * first >= pairs and 20 * second <= pairs:
            return "utf-16-be"
    return declared


def codecs_name(encoding: str) -> str:
    """The name that Python has for an encoding, or the name as it is where Python has none."""
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return encoding


class _Reader(io.RawIOBase):
    """Blocks as a file, for the text decoder of the standard library."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._block:
            block = next(self._source, None)
            if block is None:
                return 0
            self._block = memoryview(block)
        taken = min(len(buffer), len(self._block))
        buffer[:taken] = self._block[:taken]
        self._block = self._block[taken:]
        return taken


class Lines:
    r"""The lines of a text, each with its end: `\n`, `\r\n` or `\r`, also mixed.

    The lines since `begin` are held, so that `again` can give all but the first of them once more.

    Args:
        stream: the bytes.
        report: hears of lines that are too long; they come as empty ones.
        encoding: of the text, where neither a byte order mark nor the NULs of UTF-16 say another.

    Attributes:
        encoding: that is used.
        number: 1-based number of the last line that was given.
        nul: whether a line so far had a NUL in it.

    Raises:
        InputError: the stream cannot be read, or there is no such encoding.
    """

    def __init__(self, stream: Stream, report: Report, encoding: str) -> None:
        self.name = stream.name
        self.number = 0
        self.nul = False
        self.encoding = encoding_of(stream.peek(_SAMPLE_BYTES), encoding)
        self._report = report
        self._held: list[str] = []
        self._waiting: deque[str] = deque()
        self._reread = 0
        self._begun = False
        errors = "surrogateescape" if codecs_name(self.encoding) == "utf-8" else _ESCAPE
        try:
            file = io.BufferedReader(_Reader(stream), _BUFFER_BYTES)
            self._text = io.TextIOWrapper(file, self.encoding, errors=errors, newline="")
        except LookupError as error:
            raise InputError(f"{self.name}: {error}; name an encoding like utf-8 or cp1250") from error

    def __iter__(self) -> Iterator[str]:
        held, waiting, fresh = self._held, self._waiting, self._fresh
        while line := waiting.popleft() if waiting else fresh():
            self.number += 1
            held.append(line)
            yield line

    @property
    def begins(self) -> int:
        """Number of the first line since `begin`."""
        return self.number - len(self._held) + 1

    @property
    def held(self) -> list[str]:
        """The lines since `begin`."""
        return self._held

    def begin(self) -> None:
        """Forget the lines that were given so far."""
        self._held.clear()

    def peek(self) -> str:
        """The next line, which stays the next one; "" at the end."""
        if not self._waiting and (line := self._fresh()):
            self._waiting.append(line)
        return self._waiting[0] if self._waiting else ""

    def skip(self) -> str:
        """Pass over a line and return it; "" at the end."""
        line = self.peek()
        if line:
            self._waiting.popleft()
            self.number += 1
        return line

    def again(self) -> bool:
        """Give the lines since `begin`, without the first, once more; False where that would be too much."""
        rest = self._held[1:]
        self._reread += sum(map(len, rest))
        if not rest or self._reread > MAX_REREAD:
            self._held.clear()
            return False
        self._waiting.extendleft(reversed(rest))
        self.number -= len(rest)
        self._held.clear()
        return True

    def other_encoding(self, error: UnicodeError) -> InputError:
        """The error to raise where the text is of another encoding."""
        return InputError(f"{self.name}: is not {self.encoding} ({error}); name its encoding in the mapping")

    def _fresh(self) -> str:
        try:
            line = self._text.readline(MAX_LINE)
            if not self._begun:
                self._begun = True
                line = line.removeprefix(_BOM)
            if len(line) >= MAX_LINE and line[-1] not in "\r\n":
                return self._too_long()
            if "\0" in line:
                self.nul = True
        except UnicodeError as error:
            raise self.other_encoding(error) from error
        return line

    def _too_long(self) -> str:
        while (rest := self._text.readline(MAX_LINE)) and rest[-1] not in "\r\n":
            pass
        self._report.rows[self.name] += 1
        message = f"more than {MAX_LINE} characters"
        self._report.problem(self.name, self.number + 1, "", "too_long", message)
        return "\n"
