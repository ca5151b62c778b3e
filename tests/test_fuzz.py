"""Spoilt records do no harm; `python tests/fuzz.py --inputs 10000000` looks for longer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine, Outcome, Records
from cxstream.scoring.state import partition
from cxstream.settings import ACTIONS
from mutations import Mutator, Record
from strategies import histories
from workers import touchpoint

FOREVER = 1 << 62


def test_a_hundred_thousand_spoilt_records() -> None:
    run = fuzz.fuzz(100_000, 7, lambda _: None)
    assert run.counts["accepted"] > 10_000
    assert run.counts["signals"] > 500
    assert all(run.counts[each] for each in ("duplicate", "tick", "malformed", "invalid", "too_late"))
    assert run.compared > 50


def test_a_seed_gives_the_same_records_again() -> None:
    one, other, another = Mutator(5), Mutator(5), Mutator(6)
    some = [one.record() for _ in range(500)]
    assert some == [other.record() for _ in range(500)]
    assert some != [another.record() for _ in range(500)]


spoilt = st.integers(0, 2**32).map(lambda seed: Mutator(seed).record())
headers = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "content-type", "x"]), st.binary(max_size=9))
)
hostile = st.builds(
    Record, st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=200), headers, st.just(FOREVER)
)


@given(
    history=histories(max_size=20),
    among=st.lists(st.tuples(st.integers(0, 20), spoilt | hostile), max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_spoilt_records_among_lives_change_nothing(
    history: list[tuple[dict[str, Any], int | None]], among: list[tuple[int, Record]]
) -> None:
    records = [
        Record(
            event["subject"].encode() if "subject" in event else None,
            json.dumps(event).encode(),
            [],
            FOREVER if limit is None else limit,
        )
        for event, limit in history
    ]
    for at, record in among:
        records.insert(min(at, len(records)), record)
    fuzz.check_state(records)


def test_who_was_only_rejected_leaves_no_tombstone() -> None:
    engine = Engine(ScoringParams(), ACTIONS)
    late = touchpoint("nobody", 0).replace(b"2025-03", b"2024-03")
    outcome = engine.process(Records([touchpoint("anna", 1), late], [0, 1]))
    assert [each.reason for each in outcome.rejected] == ["too_late"]
    assert [subject for subject, _ in engine.take_cards()] == [b"anna"]
    assert [key[:1] for key, _ in engine.snapshot()] == [b"i", b"c", b"\0"]


def test_no_byte_of_other_memory_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    def grown_over_something(array: Any, size: int, used: int | None = None) -> Any:
        larger = np.empty((size, *array.shape[1:]), array.dtype)
        larger.view(np.uint8)[:] = 0x5B
        used = len(array) if used is None else used
        larger[:used] = array[:used]
        return larger

    values = [touchpoint(f"c{n}", n) for n in range(3000)]

    def saved() -> dict[bytes, bytes | None]:
        engine = Engine(ScoringParams(), ACTIONS)
        engine.process(Records(values, range(len(values))))
        return dict(engine.snapshot())

    clean = saved()
    monkeypatch.setattr(partition, "grown", grown_over_something)
    assert saved() == clean


@pytest.mark.parametrize("what", ["signals", "cards", "state", "lost"])
def test_harm_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks see a defect of each sort that they look for."""
    real = Engine.process

    def harmful(engine: Engine, records: Records) -> Outcome:
        outcome = real(engine, records)
        if not outcome.rejected:
            return outcome
        match what:
            case "signals":
                outcome.rows.pop()
            case "cards":
                engine._gone_cards["nobody"] = None
            case "state":
                engine.partition.gone["nobody"] = None
            case "lost":
                outcome.rejected.pop()
        return outcome

    monkeypatch.setattr(Engine, "process", harmful)
    trouble = [touchpoint("anna", n, "app_crash") for n in range(60)]
    records = [Record(b"anna", value, [], FOREVER) for value in [*trouble, b"{", b"}"]]
    with pytest.raises(fuzz.FuzzError):
        fuzz.check_state(records)
