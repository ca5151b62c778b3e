"""State that an earlier version saved is read, or refused; it is never misread."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cxstream
import golden_states
from cxstream.kernels import layout
from cxstream.model.errors import SnapshotError
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.state import layout_id, marker, migrations, side, snapshot
from cxstream.settings import ACTIONS
from golden_states import CUT, PASSED_OVER
from saved import altered, marker_of
from test_signals import rows_of

if TYPE_CHECKING:
    from saved import Rows

LAYOUTS = [step.reads for step in migrations.STEPS] + [layout.LAYOUT]


def restored(rows: Rows, number: int = layout.LAYOUT) -> Engine:
    return Engine.restore(golden_states.params_of(number), ACTIONS, rows)


PURCHASES_SINCE = 4


def cards(engine: Engine, number: int) -> list[dict[str, Any]]:
    """All score cards; without purchases, where the saved state did not know them."""
    unknown = ("purchases", "last_purchase", "spent") if number < PURCHASES_SINCE else ()
    found = [json.loads(card) for _, card in engine.cards()]
    return [
        {**card, "data": {name: x for name, x in card["data"].items() if name not in unknown}}
        for card in found
    ]


@pytest.mark.parametrize("number", LAYOUTS)
def test_a_saved_state_goes_on_as_a_replay_from_the_beginning(number: int) -> None:
    loaded = restored(golden_states.load(number), number)
    passed = loaded.partition.passed.reasons
    assert passed == ({PASSED_OVER: "skipped"} if number > 2 else {})
    whole = golden_states.replayed(number, passed=bool(passed))
    assert loaded.next_offset == whole.next_offset == CUT
    assert cards(loaded, number) == cards(whole, number)
    if number < PURCHASES_SINCE:
        assert all(json.loads(card)["data"]["purchases"] == 0 for _, card in loaded.cards())
    rest = golden_states.records(number)[CUT:]
    for begin in range(0, len(rest), 50):
        part = rest[begin : begin + 50]
        batch = Records(part, range(CUT + begin, CUT + begin + len(part)))
        left, right = loaded.process(batch), whole.process(batch)
        np.testing.assert_array_equal(left.status, right.status)
        # Layout 2 does not know the last signal, so nobody is told that it has become worse than that.
        known = [row for row in right.rows if number > 2 or row.change != "worsened" or row in left.rows]
        assert (left.rows, left.rejected, left.duplicates) == (known, right.rejected, right.duplicates)
        assert cards(loaded, number) == cards(whole, number)
        # What is saved now, a state of the present layout reads.
        assert list(restored(all_rows(loaded), number).cards()) == list(loaded.cards())


def all_rows(engine: Engine) -> Rows:
    """All rows, also those that are saved already."""
    snapshot.mark_all(engine.partition)
    return rows_of(engine)


@pytest.mark.parametrize("number", LAYOUTS)
def test_golden_states_have_something_of_everything(number: int) -> None:
    engine = restored(golden_states.load(number), number)
    state, live = engine.partition.state, engine.partition.live()
    rows = state.rows[live]
    assert rows["complaints_n"].max() == layout.COMPLAINTS - 1
    assert rows["contacts_n"].max() == layout.CONTACTS
    assert rows["ids_n"].max() == layout.IDS
    assert rows["notified_level"].any()
    assert rows["suspended"].any()
    assert engine.panes > 30
    assert len(engine.partition.erasures.times) == 1
    if number >= PURCHASES_SINCE:
        bought = state.purchases[live]
        assert 2 < (bought != layout.NONE).sum() < len(bought)
        assert (state.deals["net"] < 0).any()
    if number >= golden_states.OWN_SINCE:
        tallied = state.tallied[live]
        assert 1 < (tallied != layout.NO_TALLY).sum() < len(tallied)
        assert state.tallies["n"].max() > 1
    heads = state.memory["head"][live]
    assert (heads < layout.NONE).any()  # in lanes
    assert (heads > layout.NONE).any()  # in blocks


def test_the_golden_state_of_the_present_layout_has_its_id() -> None:
    assert marker_of(golden_states.load(layout.LAYOUT)).layout_id == layout_id.LAYOUT_ID, (
        "the saved form has changed: raise LAYOUT in kernels/layout.py, add the step that reads the layout before to "
        "scoring/state/migrations.py, and write the golden state of the new one"
    )
    assert [step.reads for step in migrations.STEPS] == list(range(2, layout.LAYOUT))
    for step in migrations.STEPS:
        assert marker_of(golden_states.load(step.reads)).layout_id == step.layout_id
        assert (step.layout_id == "") == (step.reads < migrations.FIRST_WITH_ID)


def with_swapped_fields(which: np.dtype[Any], one: str, other: str) -> np.dtype[Any]:
    kinds = dict(which.fields or {})
    assert kinds[one][0] == kinds[other][0]
    names = {one: other, other: one}
    return np.dtype([(names.get(name, name), kinds[name][0]) for name in which.names or ()], align=True)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("PANE", "effort", "mood"),
        ("PANE", "contacts", "failed"),
        ("ROW", "level", "nps"),
        ("TOLD", "time", ""),
    ],
)
def test_a_swapped_field_is_another_layout(
    name: str, one: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, present = golden_states.load(layout.LAYOUT), getattr(layout, name)
    changed = (
        with_swapped_fields(present, one, other) if other else np.dtype([("probability", "f8"), (one, "i8")])
    )
    assert changed.itemsize == present.itemsize
    monkeypatch.setattr(layout_id, name, changed)
    other_id = layout_id.layout_id()
    assert other_id != layout_id.LAYOUT_ID
    monkeypatch.setattr(marker, "LAYOUT_ID", other_id)
    with pytest.raises(SnapshotError, match=rf"in a form that .* does not know \({layout_id.LAYOUT_ID}\)"):
        restored(rows)


@pytest.mark.parametrize("limit", ["CONTACTS", "COMPLAINTS", "IDS"])
def test_another_limit_is_another_layout(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_id, limit, getattr(layout, limit) + 1)
    assert layout_id.layout_id() != layout_id.LAYOUT_ID


def test_another_form_of_side_state_is_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    for i, each in enumerate(side.SIDES):
        changed = [*side.SIDES]
        changed[i] = replace(each, form=(*each.form, 1))
        monkeypatch.setattr(layout_id, "SIDES", tuple(changed))
        assert layout_id.layout_id() != layout_id.LAYOUT_ID


def test_a_layout_of_a_later_version_is_refused_and_names_that_version() -> None:
    rows = golden_states.load(layout.LAYOUT)
    later = altered(rows, layout=layout.LAYOUT + 1, layout_id="0" * 16, version="9.1.0")
    with pytest.raises(SnapshotError) as refused:
        restored(rows | later)
    assert str(refused.value) == (
        f"the snapshot has layout {layout.LAYOUT + 1}, saved by cxstream 9.1.0; cxstream {cxstream.__version__} reads the "
        f"layouts 2 to {layout.LAYOUT}: run cxstream 9.1.0 or a later one, or rebuild the partition"
    )
    assert refused.value.reason == "other"


@pytest.mark.parametrize(("number", "its_id"), [(1, ""), (0, ""), (-1, ""), (4, ""), (3, "0" * 16)])
def test_a_layout_that_nobody_wrote_is_refused(number: int, its_id: str) -> None:
    rows = golden_states.load(layout.LAYOUT)
    with pytest.raises(SnapshotError, match="does not know"):
        restored(rows | altered(rows, layout=number, layout_id=its_id))


def test_a_marker_of_the_layout_before_without_its_checksum_is_refused() -> None:
    rows = golden_states.load(3)
    fields = json.loads(rows[b"\0marker"])
    for name, value in (("offset", 508), ("layout", 2), ("checksum", "00000000"), ("seq", 11)):
        raw = json.dumps({**fields, name: value}, separators=(",", ":")).encode()
        with pytest.raises(SnapshotError):
            restored(rows | {b"\0marker": raw})
    moved = {"checksum": fields["checksum"], **fields}
    with pytest.raises(SnapshotError):
        restored(rows | {b"\0marker": json.dumps(moved, separators=(",", ":")).encode()})


@given(st.dictionaries(st.binary(max_size=8), st.binary(max_size=300), max_size=5), st.sampled_from(LAYOUTS))
def test_migrations_take_any_bytes(rows: Rows, number: int) -> None:
    migrations.migrate(rows, number)


def test_erasure_and_expiry_empty_all_side_state() -> None:
    engine = golden_states.replayed(layout.LAYOUT, passed=True)
    state = engine.partition.state
    slots = engine.partition.live().tolist()
    names = side.ARRAYS + side.ARRAYS_OF_SOME
    full = {name: getattr(state, name)[slots].tobytes() for name in names}
    tick = json.dumps(
        {
            "specversion": "1.0",
            "id": "t",
            "source": "/tick",
            "type": "cx.tick.v1",
            "time": "2029-01-01T00:00:00Z",
        }
    ).encode()
    engine.process(Records([tick], [CUT]))
    assert engine.customers == 0
    state = engine.partition.state
    left = {name: getattr(state, name)[slots].tobytes() for name in names}
    side.vacate(state, slots)
    empty = {name: getattr(state, name)[slots].tobytes() for name in names}
    for name in names:
        if not name.endswith("_dirty"):
            assert left[name] == empty[name] != full[name], name
