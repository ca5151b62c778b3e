"""Feeds spoilt records to the decoder and the engine, by the million, and says what they must never do.

    python tests/fuzz.py --inputs 10000000
    python tests/fuzz.py --atheris 600

- Nothing is raised, and no batch takes longer than a minute: a hang ends the run with a traceback.
- Each record is accepted, a duplicate, a tick, or rejected with a reason: none gets lost.
- What is rejected changes nothing: a state that never saw it has the same bytes, and says the same. (every 20th batch)
- What the decoder says of a record, its JSON Schema says too. (some records of those batches)

The records come from a seed, so that a failure can be had again; the smallest piece of the batch that fails is
written beside the report. With --atheris it is libFuzzer that spoils them, guided by the branches of the decoder it
reaches; that needs `pip install atheris`, which has wheels for Linux.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import pickle
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import astuple

from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine, Outcome, Records, compile_kernels
from cxstream.settings import ACTIONS
from mutations import Mutator, Record
from test_schemas import VALIDATORS
from validity import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH = 5000
BATCH_SECONDS = 60.0
CLOSELY_EVERY = 20
FRESH_EVERY = 40
SCHEMA_CHECKS = 100
CLOSELY_AFTER = 500

# Patterns alone: what checks `format` for a validator takes minutes over some long texts.
_SCHEMAS = {kind: each.evolve(format_checker=None) for kind, each in VALIDATORS.items()}

_REASONS = {"malformed", "invalid", "from_the_future", "too_late"}


class FuzzError(AssertionError):
    """Records that do what no record may."""


def process(engine: Engine, records: Sequence[Record], offsets: Sequence[int]) -> Outcome:
    """What the engine makes of records, each of which must have come to something."""
    outcome = engine.process(
        Records(
            [record.value for record in records],
            offsets,
            limits=[record.limit for record in records],
            keys=[record.key for record in records],
            headers=[record.headers for record in records],
        )
    )
    used = outcome.accepted + outcome.duplicates + outcome.ticks + outcome.erased + len(outcome.receipts)
    counted = used + len(outcome.rejected)
    if counted != len(records):
        raise FuzzError(f"{len(records)} records in, {counted} accounted for")
    wrong = {each.reason for each in outcome.rejected} - _REASONS
    if wrong:
        raise FuzzError(f"rejected for no known reason: {wrong}")
    return outcome


def check_state(records: Sequence[Record]) -> None:
    """What is rejected has changed no byte of the state and no word of the results.

    Raises:
        FuzzError: it has.
    """
    params = ScoringParams()
    all_of_them, without = Engine(params, ACTIONS), Engine(params, ACTIONS)
    offsets = list(range(len(records)))
    outcome = process(all_of_them, records, offsets)
    gone = {each.index for each in outcome.rejected}
    kept = [i for i in offsets if i not in gone]
    other = process(without, [records[i] for i in kept], kept)
    if other.rejected:
        raise FuzzError(f"rejected only where rejected records are missing: {other.rejected[0]}")
    said, other_said = ([each[1:] for each in map(astuple, one.rows)] for one in (outcome, other))
    if said != other_said:  # but for where in its batch the cause was
        raise FuzzError("rejected records changed the signals or receipts")
    # Cards and rows come in the order of slots, and who was rejected may have had one for a moment.
    if dict(all_of_them.take_cards()) != dict(without.take_cards()):
        raise FuzzError("rejected records changed the score cards")
    # How far the log was read is the one thing that a rejected record may move.
    without.next_offset = all_of_them.next_offset
    if dict(all_of_them.snapshot()) != dict(without.snapshot()):
        raise FuzzError("rejected records changed the state")


def check_schema(raw: bytes) -> bool:
    """Whether schema and decoder could be compared: they agree on what a JSON parser without leniency takes.

    Raises:
        FuzzError: one accepts what the other does not.
    """
    try:
        event = json.loads(raw.decode(), parse_constant=_refuse, object_pairs_hook=_once)
        event_text = json.dumps(event, ensure_ascii=False)
        event_text.encode()
    except (ValueError, RecursionError):  # a lone surrogate is a ValueError, too
        return False
    if not isinstance(event, dict):
        return False
    schema, rejected = _SCHEMAS.get(str(event.get("type"))), validate(raw)
    error = next(schema.iter_errors(event), None) if schema else "no such type"
    if bool(error) != bool(rejected):
        raise FuzzError(f"the schema objects to {error or 'nothing'}, the decoder says {rejected}")
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of keys that come twice the schema sees one, the decoder both."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def smallest(records: Sequence[Record], fails: Callable[[Sequence[Record]], bool]) -> list[Record]:
    """Some of the records that fail still, without those that need not be there."""
    rest, size = list(records), max(1, len(records) // 2)
    while size:
        start = 0
        while start < len(rest):
            fewer = rest[:start] + rest[start + size :]
            if fewer and fails(fewer):
                rest = fewer
            else:
                start += size
        size //= 2
    return rest


class Run:
    """A run over many records.

    Attributes:
        counts: records by what they came to.
        closely: batches that were looked at closely.
        compared: records whose schema was asked.
    """

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.closely = 0
        self.compared = 0
        self._mutator = Mutator(seed)
        self._batches = 0
        self._fresh()

    def _fresh(self) -> None:
        self._engine = Engine(ScoringParams(), ACTIONS)
        self._offset = 0

    def batch(self, size: int) -> None:
        """Make and process one batch.

        Raises:
            FuzzError: a record does what none may; names the file with the records.
        """
        records = [self._mutator.record() for _ in range(size)]
        closely = self._batches % CLOSELY_EVERY == 0
        faulthandler.dump_traceback_later(BATCH_SECONDS, exit=True)
        failed: Exception | None = None
        try:
            self._check(records, closely=closely)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            failed = error
        finally:
            faulthandler.cancel_dump_traceback_later()
        if failed is not None:
            raise self._found(records, failed) from failed
        self._batches += 1
        if self._batches % FRESH_EVERY == 0:
            self._fresh()

    def _check(self, records: list[Record], *, closely: bool) -> None:
        outcome = process(self._engine, records, range(self._offset, self._offset + len(records)))
        self._offset += len(records)
        self._engine.take_cards(1000)
        self.counts["accepted"] += outcome.accepted
        self.counts["duplicate"] += outcome.duplicates
        self.counts["tick"] += outcome.ticks
        self.counts.update(each.reason for each in outcome.rejected)
        self.counts["signals"] += len(outcome.signals)
        if closely:
            check_state(records)
            self.closely += 1
            plain = (record.value for record in records if record.value and not record.headers)
            self.compared += sum(1 for _ in islice(filter(check_schema, plain), SCHEMA_CHECKS))

    def _found(self, records: list[Record], error: Exception) -> FuzzError:
        def fails(some: Sequence[Record]) -> bool:
            try:
                check_state(some)
                for record in some:
                    if record.value and not record.headers:
                        check_schema(record.value)
            except Exception:  # noqa: BLE001 - whatever it is, it must not be
                return True
            return False

        culprits = smallest(records, fails) if fails(records) else records
        with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=".pickle", delete=False) as file:
            pickle.dump(culprits, file)
        shown = "; ".join(repr(record)[:500] for record in culprits[:3])
        return FuzzError(f"{type(error).__name__}: {error}\n{len(culprits)} records, in {file.name}: {shown}")


def fuzz(inputs: int, seed: int, say: Callable[[str], None]) -> Run:
    """Process that many records; what came of them.

    Raises:
        FuzzError: a record does what none may.
    """
    compile_kernels()
    run, done, started = Run(seed), 0, time.monotonic()
    told = started
    while done < inputs:
        size = min(BATCH, inputs - done)
        run.batch(size)
        done += size
        if time.monotonic() - told >= 10:
            told = time.monotonic()
            say(f"{done:,} of {inputs:,} ({done / (told - started):,.0f}/s)")
    seconds = time.monotonic() - started
    parts = ", ".join(f"{count:,} {name}" for name, count in sorted(run.counts.items()))
    say(f"{done:,} records in {seconds:,.0f} s, seed {seed}: {parts}")
    say(
        f"{run.closely:,} batches without a trace of what was rejected; {run.compared:,} records as their schema says"
    )
    return run


def libfuzzer(seconds: int, corpus: Path) -> None:
    """Let libFuzzer look for records that break the decoder; does not return."""
    import atheris

    modules = ["cxstream.scoring.codec.decode", "cxstream.model.cloudevents"]
    for name in modules:
        for function in vars(sys.modules[name]).values():
            if (
                callable(function)
                and getattr(function, "__module__", "") == name
                and hasattr(function, "__code__")
            ):
                atheris.instrument_func(function)
    compile_kernels()
    mutator = Mutator(0)
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(200):
        (corpus / f"seed-{number}").write_bytes(b"\x00" + (mutator.record().value or b""))

    engine, seen = Engine(ScoringParams(), ACTIONS), list[Record]()

    def one(data: bytes) -> None:
        head, value = data[:1], data[1:]
        headers = []
        if head and head[0] % 4 == 3:  # one in four is binary
            name, _, value = value.partition(b"\n")
            headers = [("ce_specversion", b"1.0"), ("ce_id", name), ("content-type", name[:40])]
        seen.append(Record(b"customer-1", value, headers, 1 << 62))
        process(engine, seen[-1:], [engine.next_offset])
        if not headers:
            check_schema(value)
        if len(seen) == CLOSELY_AFTER:
            check_state(seen)
            seen.clear()

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-timeout=10", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Feed spoilt records to the decoder and the engine.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many records")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other records")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="let libFuzzer make the records")
    parser.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "cxstream-fuzz-corpus")
    arguments = parser.parse_args()
    if arguments.atheris:
        libfuzzer(arguments.atheris, arguments.corpus)
    try:
        fuzz(arguments.inputs, arguments.seed, click.echo)
    except FuzzError as error:
        raise SystemExit(f"fuzz: {error}") from error


if __name__ == "__main__":
    main()
