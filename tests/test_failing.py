"""A record whose processing fails, for whatever reason, is passed over; nothing else is lost or changed by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiokafka.errors import KafkaStorageError, MessageSizeTooLargeError
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.cli.replay import command
from cxstream.model.errors import InputError
from cxstream.scoring import engine as engine_module
from cxstream.scoring import router as router_module
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.failing import BatchError, place_of
from cxstream.scoring.signals import Emitted, Signals, Writer
from cxstream.scoring.state.marker import read_marker
from cxstream.scoring.state.passed_over import FAILED, SKIPPED, Passed
from cxstream.settings.skips import parse, skips
from cxstream.topology import CHURN_RISK, REJECTED, TOUCHPOINTS
from cxstream.worker.ownership.suspects import Cause, RowsRefusedError, Suspects, is_refusal
from strategies import PARAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cxstream.scoring.engine import Outcome

PARAMETERS = next(iter(PARAMS.values()))
READ, SIGNAL = "fails when it is read", "fails when its signal is written"


def event(number: int, customer: str, touchpoint: str = "checkout") -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(number),
            "source": "/shop",
            "type": "cx.touchpoint.app_crash.v1",
            "subject": customer,
            "time": f"2025-03-{1 + number // 40:02}T00:{number % 40:02}:00Z",
            "data": {"channel": "app", "touchpoint": touchpoint},
        }
    ).encode()


@pytest.fixture(autouse=True)
def faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two faults that nobody foresaw; what they say repeats the record."""
    decode, signals, read_subject = engine_module.decode, Writer.signals, router_module.read_subject

    def broken_decode(values: Sequence[bytes | None], *rest: Any, **more: Any) -> Any:
        if any(READ.encode() in (value or b"") for value in values):
            raise KeyError(values)
        return decode(values, *rest, **more)

    def broken_signals(self: Writer, told: Signals) -> list[Emitted]:
        for event in map(told.felt, told.places.tolist()):
            if getattr(event, "data", None) and event.data.touchpoint == SIGNAL:
                raise ValueError(event)
        return signals(self, told)

    def broken_subject(value: bytes | None) -> str | None:
        if READ.encode() in (value or b""):
            raise KeyError(value)
        return read_subject(value)

    for module in (engine_module, router_module):
        monkeypatch.setattr(module, "decode", broken_decode)
    monkeypatch.setattr(router_module, "read_subject", broken_subject)
    monkeypatch.setattr(Writer, "signals", broken_signals)


def records(values: Sequence[bytes], first: int = 0) -> Records:
    return Records(list(values), range(first, first + len(values)))


def said(outcome: Outcome) -> tuple[list[bytes], list[tuple[int, str]]]:
    return [s.value for s in outcome.signals], [(r.index, r.reason) for r in outcome.rejected]


# --- records that cannot be read


def test_a_record_that_cannot_be_read_is_rejected_and_changes_nothing() -> None:
    values = [event(n, f"c{n % 3}") for n in range(30)]
    values[17] = event(17, "c2", READ)
    outcome = Engine(PARAMETERS, {}).process(records(values))
    without = Engine(PARAMETERS, {})
    without.partition.passed.add(17, FAILED)
    assert said(outcome) == said(without.process(records(values)))
    assert said(outcome)[1] == [(17, "failed")]
    assert READ not in outcome.rejected[0].message
    assert (
        "KeyError in test_failing.py" in outcome.rejected[0].message
        or "KeyError" in outcome.rejected[0].message
    )


@settings(deadline=None, max_examples=50)
@given(bad=st.sets(st.integers(0, 19)))
def test_of_a_batch_those_that_cannot_be_read_alone_are_rejected(bad: set[int]) -> None:
    values = [event(n, f"c{n % 3}", READ if n in bad else "checkout") for n in range(20)]
    decoded = Engine(PARAMETERS, {}).read(records(values))
    assert [(r.index, r.reason) for r in decoded.rejected] == [(n, "failed") for n in sorted(bad)]
    assert decoded.valid.tolist() == [n for n in range(20) if n not in bad]
    assert [e.id for e in decoded.events] == [str(n) for n in range(20) if n not in bad]
    assert len(decoded.columns) == len(decoded.sources) == 20 - len(bad)


@pytest.mark.parametrize("error", [MemoryError(), OSError("disk"), KafkaStorageError()])
def test_what_is_no_records_fault_is_raised(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(engine_module, "decode", fails)
    with pytest.raises(type(error)):
        Engine(PARAMETERS, {}).process(records([event(0, "c")]))


def test_where_sound_records_fail_too_none_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("whatever")

    monkeypatch.setattr(engine_module, "decode", fails)
    with pytest.raises(RuntimeError):
        Engine(PARAMETERS, {}).process(records([event(0, "c")]))


# --- records that cannot be applied


def test_a_batch_that_cannot_be_applied_breaks_the_state_and_says_where() -> None:
    values = [event(n, "c0") for n in range(8)]
    values[3] = event(3, "c0", SIGNAL)
    engine = Engine(PARAMETERS, {})
    with pytest.raises(BatchError) as failed:
        engine.process(records(values))
    assert (failed.value.first, failed.value.last) == (0, 7)
    assert engine.broken
    assert SIGNAL not in str(failed.value)


def applied(values: Sequence[bytes], sizes: Iterator[int], suspects: Suspects) -> tuple[Engine, list[Any]]:
    """As a partition does it: a state that is lost is built anew, until nothing fails."""
    for _ in range(4 * len(values)):
        engine, outcomes = Engine(PARAMETERS, {}), []
        suspects.tell(engine)
        try:
            start = 0
            for size in sizes:
                piece = [Row(start + i, value) for i, value in enumerate(values[start : start + size])]
                if not piece:
                    return engine, outcomes
                for some in suspects.pieces(piece):
                    batch = records([row.value for row in some], some[0].offset)
                    outcome = engine.process(batch)
                    outcomes += [(some[s.index].offset, s.value) for s in outcome.signals]
                    outcomes += [(some[r.index].offset, r.reason) for r in outcome.rejected]
                start += size
        except BatchError as error:
            if not suspects.learn(error):
                raise
    pytest.fail("it never ends")


class Row:
    def __init__(self, offset: int, value: bytes) -> None:
        self.offset, self.value = offset, value


@settings(deadline=None, max_examples=50)
@given(
    kinds=st.lists(st.sampled_from(["checkout"] * 6 + [READ, SIGNAL]), min_size=1, max_size=30),
    size=st.integers(1, 12),
)
def test_only_those_that_fail_alone_are_passed_over(kinds: list[str], size: int) -> None:
    """The oracle applies the records one by one and asks of each, on a copy of the log before it, whether it fails."""
    values = [event(n, f"c{n % 2}", kind) for n, kind in enumerate(kinds)]
    failing: dict[int, str] = {}
    while True:
        oracle = Engine(PARAMETERS, {})
        for offset in failing:
            oracle.partition.passed.add(offset, FAILED)
        try:
            expected = []
            for n, value in enumerate(values):
                outcome = oracle.process(records([value], n))
                expected += [(n, s.value) for s in outcome.signals]
                expected += [(n, r.reason) for r in outcome.rejected]
            break
        except BatchError as error:
            failing[error.first] = FAILED

    def sizes() -> Iterator[int]:
        while True:
            yield size

    engine, outcomes = applied(values, sizes(), Suspects(0))
    assert sorted(outcomes, key=lambda each: each[0]) == expected
    assert dict(engine.cards()) == dict(oracle.cards())
    assert engine.partition.passed.reasons == oracle.partition.passed.reasons


def test_signals_of_many_customers_are_written_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [event(n, f"c{n // 3}") for n in range(30)]
    expected = Engine(PARAMETERS, {}).process(records(values)).rows
    sizes, write = [], Writer.signals

    def counted(self: Writer, told: Signals) -> list[Emitted]:
        sizes.append(len(told.rows))
        return write(self, told)

    monkeypatch.setattr(Writer, "signals", counted)
    monkeypatch.setattr(engine_module, "_TOGETHER", 4)
    assert Engine(PARAMETERS, {}).process(records(values)).rows == expected
    assert max(sizes) == 4
    assert sum(sizes) == len(expected)


def test_a_sweep_that_fails_is_no_records_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every record that lets the day end would be passed over, and none would ever be applied."""
    engine = Engine(PARAMETERS, {})
    engine.process(records([event(n, "quiet") for n in range(4)]))

    def fails(*_: Any, **__: Any) -> Any:
        raise ValueError("quiet")

    monkeypatch.setattr(Writer, "signals", fails)
    rows = np.zeros((1, engine_module.SIGNAL_WIDTH))
    rows[0, engine_module.S_TOPIC] = -1
    other = engine.read(records([event(4, "other")])).events
    with pytest.raises(Exception, match="no single record is the cause"):
        engine._signals(rows, np.array([0]), np.array([4]), np.zeros(1, np.uint8), other)


# --- what is passed over stays so


def test_passed_over_records_are_in_the_saved_state_and_in_the_next_one() -> None:
    values = [event(n, f"c{n % 3}") for n in range(20)]
    engine = Engine(PARAMETERS, {})
    engine.partition.passed.add(7, SKIPPED)
    assert said(engine.process(records(values)))[1] == [(7, "skipped")]
    assert engine.must_save
    rows = {key: value for key, value in engine.snapshot() if value is not None}
    restored = Engine.restore(PARAMETERS, {}, rows)
    assert restored.partition.passed.reasons == {7: "skipped"}
    again = Engine(PARAMETERS, {})
    again.mark_stale(rows)  # a state that cannot be used still says what was passed over
    again.process(records(values))
    assert dict(again.cards()) == dict(engine.cards())
    saved = dict(again.snapshot())
    assert Engine.restore(PARAMETERS, {}, {k: v for k, v in saved.items() if v is not None}).fits(
        read_marker(rows[engine_module.MARKER_KEY])
    )


def test_a_state_that_passes_over_other_records_does_not_fit() -> None:
    values = [event(n, "c") for n in range(4)]
    one, other = Engine(PARAMETERS, {}), Engine(PARAMETERS, {})
    one.partition.passed.add(2, SKIPPED)
    for engine in (one, other):
        engine.process(records(values))
    marker = read_marker(dict(one.snapshot())[engine_module.MARKER_KEY] or b"")
    assert one.fits(marker)
    assert not other.fits(marker)


@settings(deadline=None, max_examples=50)
@given(offsets=st.sets(st.integers(0, 30)), start=st.integers(0, 30), length=st.integers(0, 30))
def test_ranges_leave_out_what_is_passed_over(offsets: set[int], start: int, length: int) -> None:
    passed = Passed()
    for offset in offsets:
        passed.add(offset, FAILED)
    found = [n for a, b in passed.ranges(start, start + length) for n in range(a, b)]
    assert found == [n for n in range(start, start + length) if n not in offsets]
    assert all(a < b for a, b in passed.ranges(start, start + length))


def test_what_the_log_no_longer_has_is_given_up() -> None:
    engine = Engine(PARAMETERS, {})
    engine.partition.passed.add(1, SKIPPED)
    engine.process(records([event(n, "c") for n in range(4)]))
    rows = {key: value for key, value in engine.snapshot() if value is not None}
    restored = Engine.restore(PARAMETERS, {}, rows)
    restored.partition.passed.forget_before(2)
    for key, value in restored.snapshot():
        rows.pop(key, None) if value is None else rows.update({key: value})
    assert Engine.restore(PARAMETERS, {}, rows).partition.passed.reasons == {}


# --- rows that Kafka refuses


def refused(*causes: Cause | None, topic: str = CHURN_RISK.name, size: int = 900_000) -> RowsRefusedError:
    return RowsRefusedError(topic, causes, size, MessageSizeTooLargeError())


def test_a_row_that_is_refused_twice_alone_leads_to_its_record() -> None:
    suspects, cause = Suspects(0), Cause(TOUCHPOINTS.name, 5)
    suspects.tell(Engine(PARAMETERS, {}))
    assert suspects.learn(refused(Cause(TOUCHPOINTS.name, 4), cause))
    assert suspects.limits == {CHURN_RISK.name: 450_000}
    assert suspects.learn(refused(cause))
    assert suspects.why(*cause) is None
    assert suspects.learn(refused(cause))
    assert suspects.why(*cause) is not None
    engine = Engine(PARAMETERS, {})
    suspects.tell(engine)
    assert engine.partition.passed.reasons == {5: "failed"}
    # Passed over, and its reference is refused, too: nothing more can be done.
    assert not suspects.learn(refused(cause, topic=REJECTED.name))


def test_a_topic_that_takes_no_ordinary_row_leads_to_none() -> None:
    """Otherwise record after record would be passed over, where max.message.bytes is too small."""
    suspects, cause = Suspects(0), Cause(TOUCHPOINTS.name, 5)
    suspects.tell(Engine(PARAMETERS, {}))
    for _ in range(3):
        assert not suspects.learn(refused(cause, size=600))
    assert not suspects.found


def test_rows_of_many_records_lead_to_none() -> None:
    suspects = Suspects(0)
    assert not suspects.learn(refused(None))
    assert not suspects.learn(KafkaStorageError())
    assert not suspects.learn(ValueError())


def test_only_what_is_in_a_batch_makes_a_refusal() -> None:
    assert is_refusal(MessageSizeTooLargeError())
    assert not is_refusal(KafkaStorageError())


# --- files


def replayed(folder: Path, name: str, values: Sequence[bytes], *options: str) -> dict[str, bytes]:
    file, out = folder / f"{name}.ndjson", folder / name
    file.write_bytes(b"\n".join(values) + b"\n")
    arguments = [str(file), "--out", str(out), "--quiet", *options]
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    return {each.name: each.read_bytes() for each in out.iterdir()}


@pytest.mark.parametrize("partitions", ["1", "3"])
@pytest.mark.parametrize("kind", [READ, SIGNAL])
def test_replay_passes_over_the_same_record(tmp_path: Path, partitions: str, kind: str) -> None:
    # Those of one customer that lead to signals; or all that say so.
    values = [event(n, f"c{n % 5}", kind if n % 5 == 2 else "checkout") for n in range(60)]
    found = replayed(tmp_path, "bad", values, "--partitions", partitions)
    lines = [json.loads(line) for line in found["rejected.ndjson"].splitlines()]
    failed = [line for line in lines if line["reason"] == "failed"]
    assert failed
    assert {line["line"] % 5 for line in failed} == {3}
    left = [value for n, value in enumerate(values) if n + 1 not in {line["line"] for line in failed}]
    good = replayed(tmp_path, "good", left, "--partitions", partitions)
    cards = [
        [json.loads(line)["data"] for line in each["scores.ndjson"].splitlines()] for each in (found, good)
    ]
    assert cards[0] == cards[1]


def test_a_record_that_failed_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\n".join([event(0, "anna", READ), event(1, "bea")]))
    done = CliRunner().invoke(command, [str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert "1 failed (an error of cxstream; report it, with the version)" in done.stderr


def test_replay_of_a_pipe_says_which_line_fails(tmp_path: Path) -> None:
    values = [event(n, "c", SIGNAL) for n in range(6)]
    arguments = ["-", "--out", str(tmp_path / "out"), "--quiet"]
    with pytest.raises(InputError, match=r"^-:1: .*write it to a file first"):
        CliRunner().invoke(command, arguments, input=b"\n".join(values), catch_exceptions=False)
    assert not (tmp_path / "out" / "signals.ndjson").exists()


# --- what an operator skips


def test_skips_are_read_and_sorted() -> None:
    assert parse("3:1274") == (3, range(1274, 1275))
    assert skips(["1:9", "0:4", "1:2-4"], 1) == [range(2, 5), range(9, 10)]
    for wrong in ("", "3", "3:", "a:1", "1:5-4", "1:-1", "1:1-"):
        with pytest.raises(ValueError, match=wrong or "PARTITION"):
            parse(wrong)


def test_the_place_of_an_error_does_not_repeat_what_it_says() -> None:
    with pytest.raises(ValueError, match="wrote") as raised:
        int_of("what a customer wrote")
    assert "wrote" not in place_of(raised.value)
    assert place_of(raised.value).startswith("ValueError in test_failing.py:")


def int_of(text: str) -> int:
    return int(text)
