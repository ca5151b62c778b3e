"""Reads records by the kernel for plain ones and by the general decoder, and looks for a difference: there must be none.

    python tests/fuzz_plain.py --inputs 10000000 --seed 1
    python tests/fuzz_plain.py --inputs 1000000 --file touchpoints.ndjson

The records are examples of all kinds, events of generated histories and the lines of a file: whole, written in another
way (order, white space, members that nobody knows, escapes, numbers), and spoilt byte by byte and token by token as
`mutations` does.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cxstream.kernels.layout import EVENT, NONE
from cxstream.model.kinds import Kind
from cxstream.model.parameters import OwnKind
from cxstream.scoring.codec.decode import Decoded, decode, subjects_of
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.codec.plain import MEMBERS, read_plain
from cxstream.scoring.codec.vocabulary import Vocabulary
from cxstream.wire.examples import example
from mutations import Mutator
from strategies import random_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cxstream.text.model import TextModel

BATCH = 2000
OWN = {"parcel_lost": OwnKind(effort=2), "tour": OwnKind(effort=1, requires=("amount", "stage", "hashtags"))}

# JSON of every form, and what only looks like it.
NUMBERS = (
    *(
        "0",
        "-0",
        "0.0",
        "-0.0",
        "0e5",
        "-1",
        "7",
        "10",
        "123456789012345",
        "999999999999999",
        "1234567890123456",
    ),
    *(
        "0.1",
        "0.30000000000000004",
        "1.5",
        "100000000000000.5",
        "1e22",
        "1e23",
        "1E+2",
        "1e-22",
        "1e-23",
        "5e-324",
    ),
    *(
        "1.7976931348623157e308",
        "1e400",
        "-1e-400",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e3",
        "1e",
        "1e+",
        "0x1",
        "1_0",
    ),
    *(
        "00",
        "-01",
        "1e007",
        "1e0000001",
        "9007199254740993",
        "18446744073709551616",
        "0.000000000000001",
        "2.50",
    ),
    *(
        "8.41",
        "3.3333333333333",
        "4.999999999999999",
        "NaN",
        "Infinity",
        "1e1000",
        "1 0",
        "12345678901234.5e-10",
    ),
)
STRINGS = (
    *(
        '""',
        '"a"',
        '"ż"',
        '"€"',
        '"😀"',
        r'"\n"',
        r'"\"\\\/\b\f\n\r\t"',
        r'"\u0041"',
        r'"\ud83d\ude00"',
        r'"\ud800"',
    ),
    *(
        r'"\x"',
        r'"\u12"',
        '"',
        '"a',
        "'a'",
        '"\t"',
        '"\x00"',
        '"\x1f"',
        '"\x7f"',
        r'"\u0000"',
        '"' + "x" * 128 + '"',
    ),
    *(
        '"' + "x" * 129 + '"',
        '"' + "ż" * 128 + '"',
        '"' + "x" * 256 + '"',
        '"' + "ż" * 257 + '"',
        r'"a\\"',
        r'"a\\\""',
    ),
    *('"call"', '"web"', '"fax"', '"EUR"', '"eur"', '"EURO"', '"1.0"', '"treated"', '"service"', '"c-1"'),
    *('"' + "😀" * 255 + r'\n"', '"' + "😀" * 256 + r'\n"', '"' + "y" * 20_001 + '"', '"\u2028"'),
)
OTHERS = (
    *(
        "null",
        "true",
        "false",
        "nul",
        "True",
        "nulll",
        "[]",
        "{}",
        "[[]]",
        '{"a":{}}',
        "[1,]",
        "[,1]",
        "[1 2]",
        "{,}",
    ),
    *(
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        "{a:1}",
        '{"a":1,"a":2}',
        '["late","früh"]',
        '["x",1]',
        "[null]",
        "[" * 61 + "]" * 61,
    ),
    *(
        "[" * 60 + "]" * 60,
        "[" * 600 + "]" * 600,
        '{"a":[{"b":[{}]}]}',
        "[1]]",
        "}",
        "]",
        ",",
        "",
        " ",
        "/**/1",
        "[true,false,null]",
    ),
    *(
        "[" + ",".join(['"x"'] * 50) + "]",
        "[" + ",".join(['"x"'] * 51) + "]",
        '["' + "x" * 129 + '"]',
        '[ "a" , "b" ]',
    ),
)
TIMES = (
    *(
        '"2025-02-28T23:59:59Z"',
        '"2025-02-29T00:00:00Z"',
        '"2024-02-29t00:00:00.123456789z"',
        '"0001-01-01T00:00:00Z"',
    ),
    *(
        '"9999-12-31T23:59:59.999-23:59"',
        '"2025-01-01 00:00:00Z"',
        '"2025-01-01T00:00:00"',
        '"2025-01-01T00:00:60Z"',
    ),
    *(
        '"2025-01-01T00:00:00+24:00"',
        '"2025-01-01T00:00:00.Z"',
        '"2025-01-01T00:00:00+00:00"',
        '"2025-1-1T00:00:00Z"',
    ),
)
RAW = (
    *(
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xe0\x80\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x80\x80\x80",
    ),
    *(
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xc3",
        b"\xe2\x82",
        b"\xef\xbb\xbf",
    ),
    *(b"\xef\xbf\xbf", b"\x80", b"\x00", b"\x01", b"\x7f", b"\xc2\x80", b"\xdf\xbf", b"\xf0\x9f\x98"),
)
VALUES = (*NUMBERS, *STRINGS, *OTHERS, *TIMES)
SPACES = ("", "", "", " ", "\n", "\t", "\r\n", "   ", "\x0b", "\xa0", "\ufeff")
UNKNOWN = (
    "datacontenttype",
    "traceparent",
    "żółć",
    "Channel",
    "channel ",
    "",
    "a" * 40,
    "dataschema",
    "typE",
    "ids",
)


class DifferenceError(AssertionError):
    """A record means something else to the kernel than to the decoder."""


class Writer:
    """An endless source of records, from a seed."""

    def __init__(self, seed: int, lines: Sequence[bytes] = ()) -> None:
        self.random = random.Random(seed)
        self._mutator = Mutator(seed)
        told = [event for event, _ in random_history(seed, 400)]
        own = [
            {**example(Kind.click), "type": f"cx.touchpoint.{name}.v1", "data": data}
            for name, data in (
                ("parcel_lost", {"channel": "web"}),
                ("tour", {"channel": "app", "amount": 3, "stage": "service", "hashtags": ["a"]}),
            )
        ]
        self._events = [*(example(kind) for kind in Kind), *own, *told]
        self._lines = lines

    def records(self) -> Iterator[bytes]:
        """The records."""
        pick = self.random
        while True:
            fate = pick.random()
            if self._lines and fate < 0.25:
                line = pick.choice(self._lines)
                yield self._spoilt(line) if fate < 0.2 else line
            elif fate < 0.4:
                yield self._mutator.record().value or b""
            else:
                record = self._written(pick.choice(self._events))
                yield self._spoilt(record) if pick.random() < 0.2 else record

    def _spoilt(self, record: bytes) -> bytes:
        pick = self.random
        at = pick.randrange(len(record) + 1)
        fate = pick.random()
        if fate < 0.4:
            return record[:at] + pick.choice(RAW) + record[at:]
        if fate < 0.6:
            return record[:at] + bytes([pick.randrange(256)]) + record[at + 1 :]
        if fate < 0.8:
            return record[:at] + record[at + pick.randrange(1, 9) :]
        return record[:at] + pick.choice(VALUES).encode() + record[at:]

    def _written(self, event: dict[str, Any]) -> bytes:
        """An event in another way, valid or not."""
        pick = self.random
        members = [(name, self._value(name, value)) for name, value in event.items() if name != "data"]
        if "data" in event:
            data = [(name, self._value(name, value)) for name, value in event["data"].items()]
            if pick.random() < 0.3:
                data.append((pick.choice(MEMBERS), pick.choice(VALUES)))
            members.append(("data", self._object(data)))
        return (pick.choice(SPACES) + self._object(members) + pick.choice(SPACES)).encode()

    def _value(self, name: str, value: Any) -> str:
        pick = self.random
        if pick.random() < 0.02:
            return pick.choice(TIMES if name == "time" else VALUES)
        if isinstance(value, int | float) and not isinstance(value, bool) and pick.random() < 0.5:
            return pick.choice(
                (
                    f"{pick.random() * 10:.{pick.randrange(18)}f}",
                    repr(pick.random() * 5),
                    f"{value}e0",
                    f"{value}.0",
                )
            )
        return json.dumps(value, ensure_ascii=pick.random() < 0.1)

    def _object(self, members: list[tuple[str, str]]) -> str:
        pick = self.random
        if pick.random() < 0.3:
            pick.shuffle(members)
        if pick.random() < 0.15:
            members.insert(pick.randrange(len(members) + 1), (pick.choice(UNKNOWN), pick.choice(VALUES)))
        if pick.random() < 0.02:
            members.insert(pick.randrange(len(members) + 1), pick.choice(members))
        if pick.random() < 0.03:
            del members[pick.randrange(len(members))]
        if pick.random() < 0.8:
            return "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"

        def space() -> str:
            return pick.choice(SPACES[:8]) if pick.random() < 0.99 else pick.choice(SPACES)

        return (
            "{"
            + ",".join(f'{space()}"{name}"{space()}:{space()}{value}{space()}' for name, value in members)
            + "}"
        )


def compare(
    values: Sequence[bytes | None], fast: Vocabulary, general: Vocabulary, texts: TextModel | None = None
) -> int:
    """How many of the records are plain.

    Args:
        values: n records.
        fast: a vocabulary.
        general: the same without a contract.
        texts: a text model.

    Raises:
        DifferenceError: the two read a record differently.
    """
    one = decode(lines(values), vocabulary=fast, texts=texts)
    other = decode(values, vocabulary=general, texts=texts)
    if told(one) != told(other):
        for value in values:
            one = decode(lines([value]), vocabulary=fast, texts=texts)
            other = decode([value], vocabulary=general, texts=texts)
            if told(one) != told(other):
                raise DifferenceError(value)
        raise DifferenceError("a batch, but none of its records alone")
    contract = fast.contract
    assert contract is not None
    return int(np.count_nonzero(read_plain(contract, values).known))


def lines(values: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """The same records as the lines of a file: what a record leaves open may be closed in the next one."""
    if None in values:
        return values
    packed = Packed.of(values)
    text = bytearray(packed.text)
    for end in packed.ends.tolist():
        text[end] = 10
    return Packed(bytes(text), packed.begins, packed.ends)


def told(decoded: Decoded) -> tuple[Any, ...]:
    """All that a decoded batch says. Texts first: once an event is made, they come from it."""
    contacts = [i for i, kind in enumerate(decoded.columns["kind"].tolist()) if kind == Kind.contact]
    topics = list(decoded.events.topics(np.array(contacts, np.int64)))
    assert (decoded.columns["topic"][contacts] == NONE).all()
    return (
        decoded.valid.tolist(),
        list(subjects_of(decoded.events)),
        topics,
        [decoded.columns[name].tobytes() for name in EVENT.names or ()],  # without the bytes between them
        decoded.sources.tolist(),
        decoded.rejected,
        list(decoded.events),
    )


def vocabularies() -> tuple[Vocabulary, Vocabulary]:
    """Of built-in kinds and of some others: with the kernel for plain records, and without."""
    fast, general = Vocabulary(OWN), Vocabulary(OWN)
    general.contract, general.decode = None, fast.decode  # events of the same classes
    return fast, general


def fuzz(
    inputs: int, seed: int, lines: Sequence[bytes] = (), tell: Callable[[str], None] = click.echo
) -> float:
    """The share of plain records among so many.

    Raises:
        DifferenceError: the two read a record differently.
    """
    fast, general = vocabularies()
    records, plain, done, started = Writer(seed, lines).records(), 0, 0, time.monotonic()
    while done < inputs:
        plain += compare([next(records) for _ in range(min(BATCH, inputs - done))], fast, general)
        done = min(done + BATCH, inputs)
        if done % (50 * BATCH) == 0:
            tell(f"{done:,} records, {plain / done:.0%} plain, {done / (time.monotonic() - started):,.0f}/s")
    return plain / inputs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", type=Path)
    args = parser.parse_args()
    lines = args.file.read_bytes().split(b"\n")[:100_000] if args.file else []
    share = fuzz(args.inputs, args.seed, lines)
    click.echo(f"no difference in {args.inputs:,} records; {share:.1%} of them were plain")


if __name__ == "__main__":
    main()
