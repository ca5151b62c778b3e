"""Records that went wrong on their way: examples of all kinds, spoilt byte by byte, token by token, or put together.

A seed gives the same records again. Some are left whole, with ids and times of their own, so that there is state
for the others to spoil.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from cxstream.model.kinds import Kind
from cxstream.wire.examples import example, example_tick
from strategies import rfc3339

Headers = list[tuple[str, bytes]]

_BYTES = (
    *(b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"\x7f", b"\r\n"),
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\\u", b"\\ud800", b"\\u0000", b"//", b" "),
)
_VALUES = (
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"-0",
        b"-0.0",
        b"0.1e-400",
        b"1e308",
        b"1e309",
        b"5e-324",
        b"01",
    ),
    *(b"9007199254740993", b"18446744073709551616", b"-9223372036854775809", b"9" * 400, b"1." + b"3" * 400),
    *(b'""', b'"\\ud83d\\ude00"', b'"\\ud800"', b'"' + b"x" * 129 + b'"', '"żółć"'.encode(), b'"\\u0000"'),
    *(b"[]", b"{}", b"[[]]", b'{"a":{}}', b"[" * 600 + b"]" * 600, b"[" * 300, b'["late",1]'),
    *(b'"9999-12-31T23:59:59.999Z"', b'"0000-01-01T00:00:00Z"', b'"2025-02-29T00:00:00Z"', b'"2025-01-01"'),
    *(b'"1969-12-31T23:59:59.999+23:59"', b'"2025-01-01T00:00:00,5Z"', b'"2025-01-01t00:00:60z"'),
    *(b'"call"', b'"fax"', b'"EUR"', b'"1.0"', b'"0.3"', b"-1", b"0", b"10", b"11", b"1e3"),
)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}\[\]:,]')
_HEADER_VALUES = (b"", b"\xff", b"application/json", b"text/plain", b"1.0", b"x" * 300, b"\x00", "ż".encode())
_BEGIN_S, _STEP_S, _LATE_S, _FUTURE_S = 1_740_000_000, 5, 3 * 86_400, 300
_ALWAYS = 1 << 62


@dataclass(frozen=True, slots=True)
class Record:
    """One record as Kafka would bring it."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    limit: int


class Mutator:
    """An endless source of records."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._events = [*(example(kind) for kind in Kind), example_tick()]
        self._texts = [json.dumps(event, separators=(",", ":")).encode() for event in self._events]
        self._number = 0
        self._sent: list[Record] = []

    def below(self, limit: int) -> int:
        """A number of 0..limit-1; twice as quick as randrange."""
        return int(self._random.random() * limit)

    def record(self) -> Record:
        """The next record."""
        if self._sent and self.below(40) == 0:
            return self._sent[self.below(len(self._sent))]
        record = self._new()
        if self.below(30) == 0:
            self._sent = [*self._sent[-50:], record]
        return record

    def _new(self) -> Record:
        which = self.below(len(self._texts))
        value, subject, seconds = self._fresh(self._texts[which])
        headers: Headers = []
        if self.below(8) == 0:
            headers, value = self._binary(which, value)
        fate = self.below(16)
        if fate > 2:
            for _ in range(1 + self.below(3) if fate < 15 else 20):
                value = _SPOIL[self.below(len(_SPOIL))](self, value)
            if headers and fate % 2:
                headers = self._spoilt_headers(headers)
        if self.below(200) == 0:
            return Record(None, None, headers, _ALWAYS)
        # As the broker's stamp gives it; without it, one time in the year 9999 and all that follow are late.
        limit = (seconds + _FUTURE_S) * 1000 if self.below(100_000) else _ALWAYS
        return Record(subject if self.below(50) else b"somebody", value, headers, limit)

    def _fresh(self, text: bytes) -> tuple[bytes, bytes, int]:
        """The example with an id, a subject and a time of its own; its subject, and when it came, in seconds."""
        self._number += 1
        subject = b"c-%d" % self.below(5000)
        seconds = _BEGIN_S + self._number * _STEP_S
        late = self.below(_LATE_S if self.below(50) else 40 * _LATE_S)
        time = rfc3339((seconds - late) * 1000 + self.below(2)).encode()
        text = text.replace(b'-1","source"', b'-%d","source"' % self._number, 1)
        text = text.replace(b'"customer-1"', b'"%b"' % subject, 1)
        return re.sub(rb'"time":"[^"]*"', b'"time":"%b"' % time, text, count=1), subject, seconds

    def _binary(self, which: int, value: bytes) -> tuple[Headers, bytes]:
        """The same event with its attributes as headers."""
        event = json.loads(value)
        data = json.dumps(event.pop("data", None)).encode()
        headers = [(f"ce_{name}", str(each).encode()) for name, each in event.items()]
        return [*headers, ("content-type", b"application/json")], data if which % 7 else value

    def _spoilt_headers(self, headers: Headers) -> Headers:
        spoilt = list(headers)
        at = self.below(len(spoilt))
        name, value = spoilt[at]
        match self.below(5):
            case 0:
                del spoilt[at]
            case 1:
                spoilt[at] = (name, _HEADER_VALUES[self.below(len(_HEADER_VALUES))])
            case 2:
                spoilt.append((name, value[::-1]))
            case 3:
                spoilt[at] = (("ce_data", "ce_", "CE_id", "ce_é", "Content-Type")[self.below(5)], value)
            case _:
                spoilt[at] = (name, self._overwritten(value))
        return spoilt

    # --- ways to spoil bytes

    def _overwritten(self, value: bytes) -> bytes:
        at = self.below(len(value) + 1)
        return value[:at] + bytes((self.below(256),)) + value[at + 1 :]

    def _inserted(self, value: bytes) -> bytes:
        at = self.below(len(value) + 1)
        return value[:at] + _BYTES[self.below(len(_BYTES))] + value[at:]

    def _cut(self, value: bytes) -> bytes:
        at = self.below(len(value) + 1)
        return value[:at] + value[at + 1 + self.below(8) :]

    def _truncated(self, value: bytes) -> bytes:
        return value[: self.below(len(value) + 1)]

    def _repeated(self, value: bytes) -> bytes:
        at, length = self.below(len(value) + 1), 1 + self.below(30)
        return value[:at] + value[at : at + length] * (1 + self.below(4)) + value[at + length :]

    def _spliced(self, value: bytes) -> bytes:
        other = self._texts[self.below(len(self._texts))]
        return value[: self.below(len(value) + 1)] + other[self.below(len(other)) :]

    # --- ways to spoil tokens

    def _span(self, value: bytes) -> tuple[int, int]:
        found = _TOKEN.search(value, self.below(len(value) + 1))
        return found.span() if found else (0, len(value))

    def _revalued(self, value: bytes) -> bytes:
        start, end = self._span(value)
        return value[:start] + _VALUES[self.below(len(_VALUES))] + value[end:]

    def _revalued_field(self, value: bytes) -> bytes:
        """A value that follows a colon: what comes out is JSON more often than not."""
        at = value.find(b":", self.below(len(value) + 1)) + 1
        found = _TOKEN.match(value, at)
        end = found.end() if found else at
        return value[:at] + _VALUES[self.below(len(_VALUES))] + value[end:]

    def _dropped(self, value: bytes) -> bytes:
        start, end = self._span(value)
        return value[:start] + value[end:]

    def _moved(self, value: bytes) -> bytes:
        start, end = self._span(value)
        rest = value[:start] + value[end:]
        at = self.below(len(rest) + 1)
        return rest[:at] + value[start:end] + rest[at:]

    def _doubled_field(self, value: bytes) -> bytes:
        return value.replace(b"{", b'{"time":"2025-01-01T00:00:00Z","channel":"web",', 1 + self.below(2))


_SPOIL = (
    *(Mutator._overwritten, Mutator._inserted, Mutator._cut, Mutator._truncated, Mutator._repeated),
    *(
        Mutator._spliced,
        Mutator._revalued,
        Mutator._revalued_field,
        Mutator._revalued_field,
        Mutator._dropped,
    ),
    *(Mutator._moved, Mutator._doubled_field),
)
