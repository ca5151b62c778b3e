"""Saved state that cannot be trusted: what is written into cx.snapshots in place of good rows and markers.

Each way must be noticed by whoever loads it. An earlier row of the same customer and line of saved state is not among
them: it has the right checksum, and docs/security.md says whom that is left to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiokafka
import msgspec

from cxstream.kafka.claims import is_claim
from cxstream.kafka.connection import connection
from cxstream.kernels.layout import ROW
from cxstream.scoring.state.marker import MARKER_KEY, Marker
from cxstream.scoring.state.seal import Seal
from cxstream.topology import SNAPSHOTS
from faults import reader
from saved import Rows, payloads, sealed

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from cxstream.settings import Settings

# What is written, by key; None is a tombstone.
Spoiled = dict[bytes, "bytes | None"]
_GENERATION_BYTES = 8
# Where in a packed row its numbers begin, and what counts its days, complaints and contacts.
_ROW_AT, _COUNTS_AT = 1, 1 + ROW.itemsize
_SEVERAL = 2000
# More than any row that is made up here.
_REQUEST_BYTES = 4 << 20


@dataclass(slots=True)
class State:
    """What is saved of a partition.

    Attributes:
        rows: the latest of every key, the marker included.
        earlier: whole rows and markers of earlier lines of saved state.
    """

    rows: Rows = field(default_factory=dict)
    earlier: Rows = field(default_factory=dict)


@dataclass(slots=True)
class Shelf:
    """What there is to spoil a state with.

    Attributes:
        state: the state.
        other: that of another partition.
        good: the secret of checksums that are good; b"" where none is needed.
        secret: the secret that whoever spoils it has.
        rng: all chance.
    """

    state: State
    other: State
    good: bytes
    secret: bytes
    rng: random.Random

    @property
    def rows(self) -> Rows:
        """Without the marker."""
        return {key: row for key, row in self.state.rows.items() if key != MARKER_KEY}

    @property
    def marker(self) -> bytes:
        """The marker."""
        return self.state.rows[MARKER_KEY]

    def some(self, rows: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
        """One of some rows."""
        key = self.rng.choice(sorted(rows))
        return key, rows[key]

    def customer(self, rows: Rows | None = None) -> tuple[bytes, bytes]:
        """The row of a customer."""
        rows = self.rows if rows is None else rows
        return self.some({key: row for key, row in rows.items() if key[:1] == b"c"})


async def read(settings: Settings, partitions: int) -> dict[int, State]:
    """What is saved, by partition."""
    found = await reader.read_all(settings, SNAPSHOTS.name, partitions)
    secret = settings.snapshot_secrets()[0]
    return {
        partition: _state([(each.key, each.value) for each in records], secret)
        for partition, records in found.items()
    }


def _state(records: list[tuple[bytes | None, bytes | None]], secret: bytes) -> State:
    state, whole = State(), Seal(0, secret)
    before: list[tuple[bytes, bytes]] = []
    for key, value in records:
        if key is None or is_claim(key):
            continue
        if value is None:
            state.rows.pop(key, None)
            continue
        if key == MARKER_KEY or (len(value) > whole.size and whole.is_whole(key, value)):
            before.append((key, value))
        state.rows[key] = value
    if MARKER_KEY in state.rows:
        line = _line(MARKER_KEY, state.rows[MARKER_KEY], whole.size)
        state.earlier = {key: row for key, row in before if _line(key, row, whole.size) not in {line, None}}
    return state


def _line(key: bytes, row: bytes, trailer: int) -> int | None:
    """The line of saved state that a row or marker says it belongs to; None of a marker that cannot be read."""
    if key != MARKER_KEY:
        return int.from_bytes(row[-trailer : _GENERATION_BYTES - trailer], "little")
    try:
        return msgspec.json.decode(row, type=Marker).generation
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


async def write(settings: Settings, partition: int, spoiled: Spoiled) -> None:
    """Put it into cx.snapshots."""
    async with aiokafka.AIOKafkaProducer(
        **connection(settings), acks="all", max_request_size=_REQUEST_BYTES
    ) as producer:
        for key, value in spoiled.items():
            await producer.send(SNAPSHOTS.name, value, key=key, partition=partition)
        await producer.flush()


# --- the ways


def _flipped(shelf: Shelf, row: bytes) -> bytes:
    at = shelf.rng.randrange(len(row))
    return row[:at] + bytes([row[at] ^ 1 << shelf.rng.randrange(8)]) + row[at + 1 :]


def _cut(shelf: Shelf, row: bytes) -> bytes:
    return row[: shelf.rng.randrange(1, len(row))]


def _changed(change: Callable[[Shelf, bytes], bytes]) -> Callable[[Shelf], Spoiled]:
    def spoil(shelf: Shelf) -> Spoiled:
        key, row = shelf.some(shelf.rows)
        return {key: change(shelf, row)}

    return spoil


def _swapped(shelf: Shelf) -> Spoiled:
    one, two = shelf.rng.sample(sorted(key for key in shelf.rows if key[:1] == b"c"), 2)
    return {one: shelf.rows[two], two: shelf.rows[one]}


def _moved(shelf: Shelf) -> Spoiled:
    key, row = shelf.customer({key: row for key, row in shelf.other.rows.items() if key not in shelf.rows})
    return {key: row}


def _replaced(shelf: Shelf) -> Spoiled:
    return {shelf.customer()[0]: shelf.customer(shelf.other.rows)[1]}


def _earlier(shelf: Shelf) -> Spoiled:
    rows = {key: row for key, row in shelf.state.earlier.items() if key in shelf.rows}
    return dict([shelf.some(rows)]) if rows else _swapped(shelf)


def _earlier_marker(shelf: Shelf) -> Spoiled:
    return {MARKER_KEY: shelf.state.earlier.get(MARKER_KEY, shelf.other.rows[MARKER_KEY])}


def _strangers(shelf: Shelf) -> Spoiled:
    return {b"cstranger-%d" % n: shelf.rng.randbytes(shelf.rng.randrange(1, 400)) for n in range(_SEVERAL)}


def _unknown(shelf: Shelf) -> Spoiled:
    key = shelf.rng.choice([b"?", b"c", b"c\xff", b"c" + b"x" * 5000, b"i", b"v\0", b"\0"])
    return {key: shelf.rng.randbytes(40)}


def _absurd_marker(shelf: Shelf) -> Spoiled:
    fields = msgspec.structs.asdict(msgspec.json.decode(shelf.marker, type=Marker))
    absurd: list[tuple[str, Any]] = [
        *(("clock", value) for value in (2**62, -(2**62), 253_402_387_199_999, None)),
        *(("offset", value) for value in (2**62, -1)),
        *(("customers", value) for value in (2**52, fields["customers"] + 1, -1)),
        *(("seq", value) for value in (0, 2**63)),
        *(("memory", value) for value in (2**40, fields["memory"] + 1)),
        *(("partition", value) for value in (10**6, -1)),
        *(("layout", value) for value in (2, 99, -1)),
        *(("generation", value) for value in (2**63, fields["generation"] ^ 1)),
        ("swept_offset", 2**52),
        ("params", "0" * 32),
    ]
    name, value = shelf.rng.choice(absurd)
    return {MARKER_KEY: Marker(**{**fields, name: value}).encode(shelf.secret)}


# Fields of a row, and what none may say.
_ABSURD = {
    "live": (0, 2, 255),
    "level": (4, 255),
    "notified_level": (4, 255),
    "nps": (11, 255),
    "run": (255,),
    "suppressed": (9,),
    "eval_clock": (2**62, -(2**62)),
    "last_touch": (2**62, -(2**62)),
    "eval_offset": (2**62, -1),
    "seq": (2**62, -1),
}


def _absurd_row(shelf: Shelf) -> Spoiled:
    plain = payloads(shelf.rows, shelf.good)
    key, row = shelf.customer(plain)
    changed = bytearray(row)
    if shelf.rng.random() < 0.3:
        at, value = shelf.rng.choice(
            [(0, 99), (_COUNTS_AT, 255), (_COUNTS_AT + 2, 255), (_COUNTS_AT + 3, 255)]
        )
        changed[at] = value
    else:
        name = shelf.rng.choice(sorted(_ABSURD))
        kind, at = ROW.fields[name][:2]  # type: ignore[index]
        size = kind.itemsize
        value = shelf.rng.choice(_ABSURD[name]) % 2 ** (8 * size)
        changed[_ROW_AT + at : _ROW_AT + at + size] = value.to_bytes(size, "little")
    generation = msgspec.json.decode(shelf.marker, type=Marker).generation
    return dict(sealed({key: bytes(changed)}, generation, shelf.secret))


WAYS: dict[str, Callable[[Shelf], Spoiled]] = {
    "a bit of a row is flipped": _changed(_flipped),
    "a row is cut short": _changed(_cut),
    "a row is longer": _changed(lambda shelf, row: row + shelf.rng.randbytes(shelf.rng.randint(1, 300))),
    "a row is empty": _changed(lambda *_: b""),
    "a row is a megabyte of noise": _changed(lambda shelf, _: shelf.rng.randbytes(1 << 20)),
    "a row is gone": lambda shelf: {shelf.customer()[0]: None},
    "all rows are gone": lambda shelf: dict.fromkeys(shelf.rows),
    "two rows are swapped": _swapped,
    "a row of another partition is there": _moved,
    "a row of another partition is in place of one": _replaced,
    "a row is that of an earlier state": _earlier,
    "2,000 rows of nobody are there": _strangers,
    "a row has a key that nobody knows": _unknown,
    "a row says what cannot be": _absurd_row,
    "the marker is gone": lambda _: {MARKER_KEY: None},
    "a bit of the marker is flipped": lambda shelf: {MARKER_KEY: _flipped(shelf, shelf.marker)},
    "the marker is cut short": lambda shelf: {MARKER_KEY: _cut(shelf, shelf.marker)},
    "the marker is empty": lambda _: {MARKER_KEY: b""},
    "the marker is no JSON": lambda shelf: {MARKER_KEY: shelf.rng.randbytes(300)},
    "the marker is brackets": lambda _: {MARKER_KEY: b"[" * 100_000},
    "the marker is that of another partition": lambda shelf: {MARKER_KEY: shelf.other.rows[MARKER_KEY]},
    "the marker is that of an earlier state": _earlier_marker,
    "the marker says what cannot be": _absurd_marker,
}
