"""What is saved can be trusted, or is not used."""

from __future__ import annotations

import json

import pytest

import fuzz_snapshots
from cxstream.kernels.layout import CHANGED
from cxstream.model.errors import SnapshotError
from cxstream.model.features import FEATURES
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.scoring.state.marker import Owner, digest, read_marker
from cxstream.scoring.state.snapshot import Line
from cxstream.settings import ACTIONS
from default_1 import DEFAULT_1, default_1
from saved import of_layout_2, payloads, sealed
from test_signals import call, feed, rows_of, touchpoint


def test_damaged_snapshots_are_refused_or_harmless() -> None:
    run = fuzz_snapshots.fuzz(800, 3, lambda _: None)
    assert run.counts["as it lies: refused"] > 100
    assert run.counts["under checksums: refused"] > 200
    assert run.counts["under checksums: loaded"] > 50


def test_each_flipped_byte_of_a_snapshot_is_noticed() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(call("2026-03-05T09:00:00Z"), touchpoint("page_view", "2026-03-05T09:00:00Z", "bob"), engine=engine)
    rows = rows_of(engine)
    assert len(rows) == 5
    for key, row in rows.items():
        for at in range(len(row)):
            changed = row[:at] + bytes([row[at] ^ 1 << at % 8]) + row[at + 1 :]
            with pytest.raises(SnapshotError):
                Engine.restore(DEFAULT_1, ACTIONS, rows | {key: changed})


def test_customers_of_a_partition_are_numbered_by_their_order_alone() -> None:
    """Where several processes share the customers of a partition they have the offset of their first event instead."""
    engine = Engine(DEFAULT_1, ACTIONS)
    names = ("anna", "anna", "bob", "anna", "carl")
    feed(
        *(touchpoint("page_view", f"2026-03-05T09:0{n}:00Z", name) for n, name in enumerate(names)),
        engine=engine,
    )
    assert read_marker(rows_of(engine)[MARKER_KEY]).seq == 3


def test_a_snapshot_of_the_layout_before_is_read_and_saved_again_as_a_whole() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    forget = json.dumps(
        {
            "specversion": "1.0",
            "id": "f",
            "source": "/privacy",
            "type": "cx.forget.v1",
            "subject": "carl",
            "time": "2026-03-05T09:00:00Z",
        }
    ).encode()
    feed(call("2026-03-05T09:00:00Z"), touchpoint("page_view", "2026-03-05T09:00:00Z", "bob"), engine=engine)
    feed(forget, engine=engine)
    rows = rows_of(engine)
    migrated = Engine.restore(DEFAULT_1, ACTIONS, of_layout_2(rows))
    assert dict(migrated.cards()) == dict(engine.cards())
    assert migrated.must_save
    assert rows_of(migrated) == rows
    assert Engine.restore(DEFAULT_1, ACTIONS, rows).snapshot()[:-1] == []


def test_the_digest_of_layout_2_is_the_one_that_was_saved() -> None:
    assert digest(DEFAULT_1, "", 2) == "f333263776caa171a5fdda00adcd2853"
    # Who had set nothing has other defaults now.
    for layout in (2, 3):
        assert digest(ScoringParams(), "", layout) == digest(DEFAULT_1, "", layout)
        assert digest(ScoringParams(intercept=-3.1), "", layout) != digest(DEFAULT_1, "", layout)
    assert digest(default_1(window_days=30), "", 2) == "b6900788f3592d52499d925dd6d152b0"
    assert digest(default_1(max_mood=3, worsened=0.2), "", 2) == digest(DEFAULT_1, "", 2)


# One open complaint: .62, two: .82, both high.
BY_COMPLAINTS = default_1(
    intercept=-0.5,
    thresholds=(0.35, 0.55, 0.95),
    coefficients={**dict.fromkeys(FEATURES, 0.0), "complaint": 3.0},
)


def troubled(n: int, time: str) -> list[bytes]:
    return [touchpoint("complaint_opened", time, case_id=f"{time}-{i}") for i in range(n)]


def test_what_worsened_is_measured_against_is_saved() -> None:
    whole, engine = Engine(BY_COMPLAINTS, ACTIONS), Engine(BY_COMPLAINTS, ACTIONS)
    first, then = troubled(1, "2026-03-05T09:00:00Z"), troubled(1, "2026-03-06T09:00:00Z")
    assert [s.change for s in feed(*first, *then, engine=whole).signals][-1] == "worsened"
    feed(*first, engine=engine)
    restored = Engine.restore(BY_COMPLAINTS, ACTIONS, rows_of(engine))
    told, as_before = (
        each.partition.state.told[each.partition.state.seldom[each.partition.slots.get("anna")]]
        for each in (restored, engine)
    )
    assert told["probability"] > 0
    assert told.tobytes() == as_before.tobytes()
    assert [s.change for s in feed(*then, engine=restored).signals] == ["worsened"]


def test_a_customer_of_the_layout_before_is_measured_from_the_first_evaluation_on() -> None:
    engine = Engine(BY_COMPLAINTS, ACTIONS)
    feed(*troubled(1, "2026-03-05T09:00:00Z"), engine=engine)
    migrated = Engine.restore(BY_COMPLAINTS, ACTIONS, of_layout_2(rows_of(engine), BY_COMPLAINTS))
    # The first evaluation is at the sweep before the second complaint: it sets the mark, and nobody is told.
    once = feed(*troubled(1, "2026-03-06T09:00:00Z"), engine=migrated)
    assert [s.change for s in once.signals] == []
    saved = Engine.restore(BY_COMPLAINTS, ACTIONS, rows_of(migrated))
    later = touchpoint("page_view", "2026-03-07T00:00:00Z")
    assert [s.change for s in feed(later, engine=saved).signals] == ["worsened"]


def test_a_last_signal_that_cannot_be_is_refused() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(*troubled(8, "2026-03-05T09:00:00Z"), engine=engine)
    told = engine.partition.state.told
    slot = engine.partition.slots.get("anna")
    place = engine.partition.state.seldom[slot]
    for field, value in (("time", 2**62), ("probability", 1.5), ("probability", float("nan"))):
        right = told[place].copy()
        told[field][place] = value
        engine.partition.state.row_dirty[slot] = CHANGED
        with pytest.raises(SnapshotError, match="has an impossible value"):
            Engine.restore(DEFAULT_1, ACTIONS, rows_of(engine))
        told[place] = right


def test_checksums_under_a_key_cannot_be_made_without_it() -> None:
    secret = b"a secret of the worker"
    engine = Engine(DEFAULT_1, ACTIONS)
    engine.line = Line(5, Owner("cluster", "group", 2), (secret,))
    feed(call("2026-03-05T09:00:00Z"), engine=engine)
    rows = rows_of(engine)
    again = Engine.restore(DEFAULT_1, ACTIONS, rows, secrets=(secret,))
    assert again.line == engine.line
    without = sealed(payloads(rows, secret), 5)
    for forged in (
        without,
        sealed(payloads(rows, secret), 5, b"another"),
        sealed(payloads(rows, secret), 6, b"another"),
        {b"canna": bytes([rows[b"canna"][0] ^ 1]) + rows[b"canna"][1:]},
        {MARKER_KEY: rows[MARKER_KEY].replace(b'"offset":1', b'"offset":2')},
    ):
        with pytest.raises(SnapshotError) as caught:
            Engine.restore(DEFAULT_1, ACTIONS, rows | forged, secrets=(secret,))
        assert caught.value.reason == "forged"
