"""Damages snapshots by the million, and says what must never come of it.

    NUMBA_BOUNDSCHECK=1 python tests/fuzz_snapshots.py --inputs 1000000

- A snapshot that is damaged as it lies there is refused, or the state is the one that was saved, byte for byte.
- One that is changed under checksums that are right is refused, or scores on: 100 events, score cards, two days, and a
  snapshot that loads again.
- Nothing else is raised, no kernel leaves its arrays (with NUMBA_BOUNDSCHECK=1), and nothing takes a minute.

Damage is flipped bits, numbers at their extremes, rows that are swapped, cut, left out or come from another partition
or an earlier state, other keys, and markers with other numbers. All of it comes from a seed.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import math
import pickle
import random
import struct
import tempfile
import time
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numba

from cxstream.kernels.layout import PANE, ROW
from cxstream.model.errors import SnapshotError
from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE, type_of
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring.engine import MARKER_KEY, Engine, Records, compile_kernels
from cxstream.scoring.state import snapshot
from cxstream.scoring.state.marker import Marker
from cxstream.scoring.state.snapshot import Line
from cxstream.settings import ACTIONS
from saved import Rows, marker_of, of_layout_2, payloads, sealed
from strategies import PARAMS, random_history

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0
EVENTS = 100
_INTEGERS = (
    0,
    1,
    -1,
    2,
    4,
    9,
    32,
    33,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    -(2**31),
    2**32,
    2**43,
)
_INTEGERS += (2**53, 2**62, 2**63 - 1, -(2**63), 253_402_387_200_000, -62_135_683_200_000)
_FLOATS = (0.0, -0.0, -1.0, 1e18, 1e300, -1e300, 5e-324, math.inf, -math.inf, math.nan)
_FORMATS = {"i8": "<q", "i4": "<i", "u4": "<I", "u2": "<H", "u1": "<B", "f8": "<d", "f4": "<f", "u8": "<Q"}


class FuzzError(AssertionError):
    """A damaged snapshot that did what none may."""


def _fields(dtype: Any, start: int) -> list[tuple[int, str]]:
    return [
        (start + offset, kind.str[1:])
        for kind, offset, *_ in dtype.fields.values()
        if kind.str[1:] in _FORMATS
    ]


PARAMETERS = ScoringParams(kinds=PARAMS["own"].kinds)
_ROW_FIELDS = _fields(ROW, 1)
_COUNTS = 1 + ROW.itemsize
_PANE_FIELDS = _fields(PANE, 0)


def _saved(engine: Engine) -> Rows:
    return {key: row for key, row in engine.snapshot() if row is not None}


def _events(seed: int, n: int, clock: int = 0) -> list[bytes]:
    """Records as the tests of scores use them; every sixth touchpoint is of a kind of the company's own."""
    told = [event for event, _ in random_history(seed, n)]
    for i, event in enumerate(told):
        if i % 6 == 0 and event["type"] not in {TICK_TYPE, FORGET_TYPE}:
            told[i] = {**event, "type": type_of("chat_failed" if i % 12 else "rude_reply")}
    return [json.dumps(event).encode() for event in told]


def _crowded(seed: int) -> list[bytes]:
    """One customer with so many ids that they lie in lanes."""
    return [
        json.dumps(
            {
                "specversion": "1.0",
                "id": f"{seed}-{i}",
                "source": "/bot",
                "type": f"cx.touchpoint.{'click' if i % 3 else 'error'}.v1",
                "subject": "crowd",
                "time": f"2026-03-{1 + i // 400:02}T09:00:00Z",
                "data": {"channel": "web"},
            }
        ).encode()
        for i in range(1_500)
    ]


class State:
    """A saved state, and what is damaged of it.

    Attributes:
        rows: as they are stored.
        plain: their payloads.
        marker: the marker.
        more: events that come next.
    """

    def __init__(self, seed: int, generation: int, partition: int = 0) -> None:
        engine = Engine(PARAMETERS, ACTIONS, partition=partition)
        engine.line = Line(generation)
        values = _events(seed, 300)
        if seed % 2:
            values += _crowded(seed)
        self.earlier: Rows = {}
        for begin in range(0, len(values), 200):
            part = values[begin : begin + 200]
            engine.process(Records(part, range(begin, begin + len(part))))
            snapshot.mark_all(engine.partition)
            if begin == 0:
                # Of another line: an earlier row of the same one has the right checksum, and is not noticed.
                engine.line = Line(generation + 100)
                self.earlier = _saved(engine)
                engine.line = Line(generation)
        engine.take_cards()
        self.rows = _saved(engine)
        self.plain = payloads(self.rows)
        self.marker = marker_of(self.rows)
        self.more = _events(seed, 300 + EVENTS)[300:]

    @cached_property
    def again(self) -> Rows:
        """What a state that was loaded from the rows saves, all of it."""
        return self.saved_again(self.load(self.rows))

    @staticmethod
    def saved_again(engine: Engine) -> Rows:
        """All rows of a state."""
        snapshot.mark_all(engine.partition)
        return _saved(engine)

    def load(self, rows: Rows) -> Engine:
        """The state that rows give."""
        return Engine.restore(PARAMETERS, ACTIONS, rows, partition=self.marker.partition or 0, latest=2**45)


class Damage:
    """Ways to damage a snapshot.

    Args:
        rng: where chance comes from.
        states: what is damaged.
    """

    def __init__(self, rng: random.Random, states: list[State]) -> None:
        self._rng = rng
        self._states = states

    def bytes_of(self, row: bytes) -> bytes:
        """Some bytes changed, cut or added."""
        rng, changed = self._rng, bytearray(row)
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            at = rng.randrange(len(changed) or 1)
            what = rng.randrange(7)
            if what == 0 or not changed:
                changed = changed[:at]
            elif what == 1:
                changed[at:at] = rng.randbytes(rng.choice((1, 4, 8, 64)))
            elif what == 2:
                size = rng.choice((1, 2, 4, 8))
                changed[at : at + size] = (rng.choice(_INTEGERS) % 2**64).to_bytes(8, "little")[:size]
            elif what == 3:
                changed[at] = rng.randrange(256)
            else:
                changed[at] ^= 1 << rng.randrange(8)
        return bytes(changed)

    def number_of(self, key: bytes, payload: bytes) -> bytes:
        """A number of a customer's row at an extreme; bytes of any other row."""
        rng = self._rng
        if not key.startswith(b"c") or len(payload) < _COUNTS + 5:
            return self.bytes_of(payload)
        changed = bytearray(payload)
        # The count may have been changed before.
        there = (len(payload) - _COUNTS - 5) // PANE.itemsize
        panes = min(int.from_bytes(payload[_COUNTS : _COUNTS + 2], "little"), there)
        what = rng.randrange(4)
        if what == 0:
            changed[_COUNTS + rng.randrange(5)] = rng.choice((0, 1, 4, 5, 8, 9, 32, 33, 255))
        elif what == 1 and panes:
            start = _COUNTS + 5 + rng.randrange(panes) * PANE.itemsize
            at, kind = rng.choice(_PANE_FIELDS)
            self._put(changed, start + at, kind)
        else:
            self._put(changed, *rng.choice(_ROW_FIELDS))
        return bytes(changed)

    def _put(self, row: bytearray, at: int, kind: str) -> None:
        rng, form = self._rng, _FORMATS[kind]
        size = struct.calcsize(form)
        if kind[0] == "f":
            value: Any = rng.choice(_FLOATS)
            if kind == "f4" and math.isfinite(value):
                value = max(-3e38, min(value, 3e38))
        elif rng.random() < 0.5:
            (now,) = struct.unpack_from(form, row, at)
            bits = 8 * size
            value = (now + rng.choice((-1, 1, DAY_MS, -DAY_MS, 90, 91))) % 2**bits
            value -= 2**bits if kind[0] == "i" and value >= 2 ** (bits - 1) else 0
        else:
            row[at : at + size] = (rng.choice(_INTEGERS) % 2**64).to_bytes(8, "little")[:size]
            return
        struct.pack_into(form, row, at, value)

    def rows_of(self, rows: Rows, strange: Rows, change: Callable[[bytes, bytes], bytes]) -> Rows:
        """Some rows changed, swapped, left out, renamed or from elsewhere."""
        rng, changed = self._rng, dict(rows)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            names = sorted(changed)
            key = rng.choice(names)
            what = rng.randrange(8)
            if what == 0:
                other = rng.choice(names)
                changed[key], changed[other] = changed[other], changed[key]
            elif what == 1:
                del changed[key]
            elif what == 2 and strange:
                other = rng.choice(sorted(strange))
                changed[rng.choice((key, other))] = strange[other]
            elif what == 3:
                changed[self.bytes_of(key)] = changed[key] if rng.random() < 0.5 else changed.pop(key)
            else:
                changed[key] = change(key, changed[key])
        return changed

    def marker_of(self, marker: Marker) -> Marker:
        """A marker with one other number."""
        rng = self._rng
        fields = msgspec.structs.asdict(marker)
        name = rng.choice([name for name, value in fields.items() if name not in {"params", "checksum"}])
        value: Any = rng.choice((*_INTEGERS, None))
        if isinstance(fields[name], str):
            value = "elsewhere"
        elif isinstance(fields[name], int) and rng.random() < 0.5:
            value = fields[name] + rng.choice((-1, 1, DAY_MS, -DAY_MS))
        return Marker(**{**fields, name: value})

    def as_it_lies(self) -> tuple[State, Rows]:
        """A state, and its rows damaged without another thought."""
        rng, state = self._rng, self._rng.choice(self._states)
        strange = rng.choice([state.earlier, rng.choice(self._states).rows])
        return state, self.rows_of(state.rows, strange, lambda _, row: self.bytes_of(row))

    def under_checksums(self) -> tuple[State, Rows]:
        """A state, and its rows changed under checksums that are right, or in the layout without."""
        rng, state = self._rng, self._rng.choice(self._states)
        plain, marker = state.plain, state.marker
        if rng.random() < 0.25:
            marker = self.marker_of(marker)
        if rng.random() < 0.9:
            strange = payloads(rng.choice([state.earlier, rng.choice(self._states).rows]))
            plain = self.rows_of(plain, strange, self.number_of)
        # A count that differs would be all that is found.
        if rng.random() < 0.8:
            kinds = Counter(key[:1] for key in plain)
            counts = {"customers": kinds[b"c"], "erasures": kinds[b"e"], "memory": kinds[b"i"] + kinds[b"v"]}
            counts |= {"purchases": kinds[b"p"], "tallies": kinds[b"k"]}
            marker = msgspec.structs.replace(marker, **counts)
        generation = marker.generation or 0
        rows = sealed(plain, generation if 0 <= generation < 2**63 else 0)
        rows[MARKER_KEY] = marker.encode()
        if rng.random() < 0.1:
            with contextlib.suppress(SnapshotError):
                rows = of_layout_2(rows)
        return state, rows


class Run:
    """A run over many damaged snapshots.

    Attributes:
        counts: snapshots by what became of them.
    """

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(seed)
        states = [State(seed + n, 5 + n, n % 2) for n in range(6)]
        self._damage = Damage(self._rng, states)

    def one(self) -> None:
        """Damage a snapshot and load it.

        Raises:
            FuzzError: it did what it must not; names the file with its rows.
        """
        raw = self._rng.random() < 0.3
        state, rows = self._damage.as_it_lies() if raw else self._damage.under_checksums()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        failed: Exception | None = None
        try:
            self._check(state, rows, raw=raw)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            failed = error
        finally:
            faulthandler.cancel_dump_traceback_later()
        if failed is not None:
            with tempfile.NamedTemporaryFile(prefix="fuzz-snapshot-", suffix=".pickle", delete=False) as file:
                pickle.dump((state.rows, state.more, rows), file)
            raise FuzzError(f"{type(failed).__name__}: {failed}; the rows are in {file.name}") from failed

    def _check(self, state: State, rows: Rows, *, raw: bool) -> None:
        name = "as it lies" if raw else "under checksums"
        try:
            engine = state.load(rows)
        except SnapshotError as error:
            self.counts[f"{name}: refused"] += 1
            self.counts[f"  {str(error)[:70]}"] += 1
            return
        self.counts[f"{name}: loaded"] += 1
        if raw:
            if state.saved_again(engine) != state.again:
                raise FuzzError("damage was not noticed")
            return
        goes_on(engine, state.more)


def goes_on(engine: Engine, more: list[bytes]) -> None:
    """Score further from a state that was accepted; whatever it does, it does not raise."""
    start = engine.next_offset
    if start > 2**52:
        return
    engine.process(Records(more, range(start, start + len(more))))
    engine.take_cards()
    list(engine.cards())
    if engine.clock is not None:
        engine.advance(engine.clock + 2 * DAY_MS)
    kept = State.saved_again(engine)
    again = Engine.restore(PARAMETERS, ACTIONS, kept, partition=engine.partition.number)
    if again.customers != engine.customers:
        raise FuzzError(f"{engine.customers} customers saved, {again.customers} loaded")


def fuzz(inputs: int, seed: int, say: Callable[[str], None], seconds: float = math.inf) -> Run:
    """Load that many damaged snapshots, or as many as the time allows; what came of them.

    Raises:
        FuzzError: one did what it must not.
    """
    compile_kernels()
    run, done, started = Run(seed), 0, time.monotonic()
    told = started
    while done < inputs and time.monotonic() - started < seconds:
        run.one()
        done += 1
        if time.monotonic() - told >= 10:
            told = time.monotonic()
            say(f"{done:,} of {inputs:,} ({done / (told - started):,.0f}/s)")
    checked = "on" if numba.config.BOUNDSCHECK else "off"
    say(f"{done:,} snapshots in {time.monotonic() - started:,.0f} s, seed {seed}, bounds checking {checked}")
    for name, count in sorted(run.counts.items()):
        say(f"{count:>12,} {name}")
    return run


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Damage snapshots and load them.")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many snapshots")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other damage")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so long")
    arguments = parser.parse_args()
    try:
        fuzz(arguments.inputs, arguments.seed, click.echo, arguments.seconds)
    except FuzzError as error:
        raise SystemExit(f"fuzz: {error}") from error


if __name__ == "__main__":
    main()
