"""What is saved can be trusted, or is not used."""

from __future__ import annotations

import json

import pytest

import fuzz_snapshots
from cxstream.model.errors import SnapshotError
from cxstream.model.params import ScoringParams
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.scoring.marker import Owner
from cxstream.scoring.snapshot import Line
from cxstream.settings import ACTIONS
from saved import of_layout_2, payloads, sealed
from test_signals import call, feed, rows_of, touchpoint


def test_damaged_snapshots_are_refused_or_harmless() -> None:
    run = fuzz_snapshots.fuzz(800, 3, lambda _: None)
    assert run.counts["as it lies: refused"] > 100
    assert run.counts["under checksums: refused"] > 200
    assert run.counts["under checksums: loaded"] > 50


def test_each_flipped_byte_of_a_snapshot_is_noticed() -> None:
    engine = Engine(ScoringParams(), ACTIONS)
    feed(call("2026-03-05T09:00:00Z"), touchpoint("page_view", "2026-03-05T09:00:00Z", "bob"), engine=engine)
    rows = rows_of(engine)
    assert len(rows) == 5
    for key, row in rows.items():
        for at in range(len(row)):
            changed = row[:at] + bytes([row[at] ^ 1 << at % 8]) + row[at + 1 :]
            with pytest.raises(SnapshotError):
                Engine.restore(ScoringParams(), ACTIONS, rows | {key: changed})


def test_a_snapshot_of_the_layout_before_is_read_and_saved_again_as_a_whole() -> None:
    engine = Engine(ScoringParams(), ACTIONS)
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
    migrated = Engine.restore(ScoringParams(), ACTIONS, of_layout_2(rows))
    assert dict(migrated.cards()) == dict(engine.cards())
    assert migrated.must_save
    assert rows_of(migrated) == rows
    assert Engine.restore(ScoringParams(), ACTIONS, rows).snapshot()[:-1] == []


def test_checksums_under_a_key_cannot_be_made_without_it() -> None:
    secret = b"a secret of the worker"
    engine = Engine(ScoringParams(), ACTIONS)
    engine.line = Line(5, Owner("cluster", "group", 2), (secret,))
    feed(call("2026-03-05T09:00:00Z"), engine=engine)
    rows = rows_of(engine)
    again = Engine.restore(ScoringParams(), ACTIONS, rows, secrets=(secret,))
    assert again.line == engine.line
    without = sealed(payloads(rows, secret), 5)
    for forged in (
        without,
        sealed(payloads(rows, secret), 5, b"another"),
        {b"canna": bytes([rows[b"canna"][0] ^ 1]) + rows[b"canna"][1:]},
        {MARKER_KEY: rows[MARKER_KEY].replace(b'"offset":1', b'"offset":2')},
    ):
        with pytest.raises(SnapshotError) as caught:
            Engine.restore(ScoringParams(), ACTIONS, rows | forged, secrets=(secret,))
        assert caught.value.reason == "forged"
