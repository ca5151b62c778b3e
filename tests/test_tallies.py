"""Kinds of the company's own in the evidence of signals: counted by day and name, whatever rules come and go."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.layout import NO_TALLY, OWN_NAMED, UNSAVED_TALLIES
from cxstream.model.errors import SnapshotError
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE
from cxstream.model.parameters import DAY_MS, HOUR_MS, ScoringParams
from cxstream.model.rules import rules_of
from cxstream.scoring.engine import Engine, Outcome, Records
from cxstream.scoring.state import side, snapshot, tallies
from cxstream.scoring.state.constants import digest_of
from cxstream.settings import ACTIONS
from oracle import Oracle, pane_of
from saved import altered, payloads, sealed
from strategies import Entry, rfc3339
from test_purchases import DAY_0, Shop
from test_scores import assert_agrees, assert_cuts_do_not_matter, encoded

EAGER = {"thresholds": (0.02, 0.9, 0.95), "worsened": 1e-9, "worsened_hours": 0, "complaints_scale": 8}
KINDS = {
    "parcel_lost": {"effort": 3, "mood": -1},
    "chat_failed": {"effort": 1, "failed_step": True},
    "bill_wrong": {"effort": 2},
    "zone_closed": {"effort": 2},
    "rude_reply": {"mood": -2},
    "nice_gift": {"mood": 3},
    "walk_by": {},
}


def rules(*names: str, **changes: Any) -> ScoringParams:
    kinds = {name: KINDS.get(name, {"effort": 1}) for name in names or KINDS}
    return ScoringParams.model_validate({**EAGER, "kinds": kinds, **changes})


class Firm(Shop):
    """An engine whose rules name kinds of its own."""

    def rule(self, params: ScoringParams, day: float) -> Outcome:
        self.n += 1
        event = {"specversion": "1.0", "id": f"r{self.n}", "source": "/rules", "type": RULES_TYPE}
        event |= {"time": rfc3339(round((DAY_0 + day) * DAY_MS))}
        event |= {"data": json.loads(rules_of(params, ACTIONS).data)}
        return self.engine.process(Records([json.dumps(event).encode()], [self.n]))

    def tell(self, feature: str, day: float, who: str = "ann") -> str:  # type: ignore[override]
        """The evidence of a feature in the signal that an event without points causes."""
        outcome = self.say("complaint_opened", day, who, case_id=f"c{self.n}")
        [signal] = [each for each in outcome.signals if each.topic == "cx.churn-risk"]
        reasons = json.loads(signal.value)["data"]["reasons"]
        return next(each["evidence"] for each in reasons if each["feature"] == feature)

    def counted(self) -> dict[tuple[str, int, int], int]:
        """Every entry, by customer, day and digest."""
        return entries(self.engine)


def entries(engine: Engine) -> dict[tuple[str, int, int], int]:
    state, found = engine.partition.state, {}
    for slot in engine.partition.live().tolist() if len(state.tallied) else ():
        index = int(state.tallied[slot])
        while index != NO_TALLY:
            each = state.tallies[index]
            found[engine.partition.slots.name(slot), int(each["day"]), int(each["kind"])] = int(each["n"])
            index = int(each["next"])
    return found


@pytest.fixture
def firm() -> Firm:
    return Firm(rules())


# --- evidence


def test_evidence_names_and_counts_the_most_frequent_kinds(firm: Firm) -> None:
    for i in range(2):
        firm.say("parcel_lost", 0.1 + i)
        firm.say("zone_closed", 0.2 + i)
        firm.say("bill_wrong", 0.3 + i)
    firm.say("parcel_lost", 2)
    firm.say("chat_failed", 2)
    said = firm.tell("effort", 2.5)
    # Of equal ones the first by name, and only three.
    assert said == "3 parcel_lost, 2 bill_wrong, 2 zone_closed in 7 days, complaint open since today"
    firm.say("contact", 3, topic="bill", wait_s=120)
    assert firm.tell("effort", 3.1).startswith(
        "1 contact about 'bill' in 7 days, 2 min waited, 3 parcel_lost, 2 bill_wrong, 2 zone_closed, 2 complaints"
    )


def test_a_single_kind_has_the_form_of_other_counts(firm: Firm) -> None:
    firm.say("parcel_lost", 0)
    firm.say("parcel_lost", 1)
    assert firm.tell("effort", 1.1).startswith("2 parcel_lost in 7 days")


def test_what_is_older_than_the_span_counts_where_there_is_nothing_else(firm: Firm) -> None:
    firm.say("parcel_lost", 0)
    assert firm.tell("effort", 20).startswith("1 parcel_lost in 90 days")
    firm.say("bill_wrong", 21)
    assert firm.tell("effort", 21).startswith("1 bill_wrong in 7 days")


def test_a_kind_that_only_annoys_is_evidence_of_dissatisfaction(firm: Firm) -> None:
    firm.say("rude_reply", 0)
    firm.say("rude_reply", 1)
    said = firm.tell("dissatisfaction", 1.1)
    assert said.endswith("of 100, inferred, no answer given, 2 rude_reply in 7 days")
    firm.say("parcel_lost", 2)
    assert "rude_reply" not in firm.tell("effort", 2.1)


def test_a_failed_step_of_the_company_s_own_is_named_and_not_counted_among_the_others(firm: Firm) -> None:
    firm.say("error", 0)
    firm.say("chat_failed", 0)
    assert firm.tell("effort", 0.1).startswith("1 failed digital step, 1 chat_failed in 7 days")


def test_a_friction_signal_names_the_kinds_of_its_day(firm: Firm) -> None:
    outcomes = [firm.say("parcel_lost", 0.5) for _ in range(3)]
    [friction] = [each for each in outcomes[2].signals if each.topic == "cx.friction"]
    assert json.loads(friction.value)["data"]["evidence"] == "3 parcel_lost today"


def test_a_late_event_that_causes_friction_is_named(firm: Firm) -> None:
    firm = Firm(rules(acute_half_life_minutes=1e6))
    firm.say("contact", 2, resolved=False)
    outcomes = [firm.say("parcel_lost", 0.5) for _ in range(2)]
    [friction] = [each for each in outcomes[0].signals + outcomes[1].signals if each.topic == "cx.friction"]
    assert json.loads(friction.value)["data"]["evidence"] == (
        "1 contact today, 1 contact unresolved, parcel_lost"
    )


def test_neither_visits_nor_good_news_are_counted(firm: Firm) -> None:
    firm.say("walk_by", 0)
    firm.say("nice_gift", 0)
    assert firm.counted() == {}
    assert len(firm.engine.partition.state.tallied) == 0


# --- rules


def test_counts_follow_the_names_of_kinds_and_not_their_numbers(firm: Firm) -> None:
    firm.say("parcel_lost", 0)
    firm.say("bill_wrong", 0)
    firm.say("bill_wrong", 0)
    firm.rule(rules("parcel_lost", "aaa", "bbb", "zone_closed"), 0.5)
    assert firm.tell("effort", 0.6).startswith("1 parcel_lost in 7 days")
    firm.reload()
    firm.say("zone_closed", 0.7)
    firm.rule(rules("aaa"), 1)
    assert firm.tell("effort", 1.1).startswith("2 complaints open")
    firm.say("aaa", 1.2)
    firm.rule(rules(), 2)
    assert firm.tell("effort", 2.1).startswith("2 bill_wrong, 1 parcel_lost, 1 zone_closed in 7 days")


def test_a_kind_that_costs_nothing_any_more_is_not_named(firm: Firm) -> None:
    firm.say("parcel_lost", 0)
    firm.rule(ScoringParams.model_validate({**EAGER, "kinds": {"parcel_lost": {"mood": 1}}}), 0.5)
    assert "parcel" not in firm.tell("effort", 0.6)


def test_days_outside_the_window_are_deleted_and_do_not_come_back(firm: Firm) -> None:
    for day in (0, 10, 30):
        firm.say("parcel_lost", day)
    rows = stored(firm)
    firm.rule(rules(window_days=20), 30.5)
    assert [day - DAY_0 for _, day, _ in firm.counted()] == [30]
    # Saved before the window became shorter, and loaded under a longer one again.
    firm.rule(rules(window_days=90, name="long"), 30.6)
    later = {key: row for key, row in firm.engine.snapshot() if row is not None}
    before = firm.counted()
    firm.engine = Engine.restore(firm.params, ACTIONS, rows | later)
    assert firm.counted() == before
    firm.say("tick", 130)
    assert firm.counted() == {}
    assert stored(firm).keys().isdisjoint(rows.keys() - {b"cann", b"\0marker"})
    state = firm.engine.partition.state
    assert not any(state.tallies[name].any() for name in ("kind", "day", "n"))


# --- the end of a customer


def test_erasure_and_expiry_leave_nothing(firm: Firm) -> None:
    firm.buy(0.5)
    for who in ("ann", "bob"):
        firm.say("parcel_lost", 0, who)
        firm.say("chat_failed", 1, who)
        firm.say("chat_failed", 1, who)
    saved = stored(firm)
    assert sum(key.startswith(tallies.PREFIX) for key in saved) == 2
    [receipt] = firm.say("forget", 2).receipts
    erased = json.loads(receipt.value)["data"]["erased"]
    assert erased == {"panes": 2, "complaints": 0, "contacts": 0, "purchases": 1, "own_kinds": 3}
    firm.say("tick", 400)
    state = firm.engine.partition.state
    assert not any(state.tallies[name].any() for name in ("kind", "day", "n"))
    assert not state.tallied[:2].any()
    for key, row in firm.engine.snapshot():
        if row is None:
            saved.pop(key, None)
        else:
            saved[key] = row
    assert not any(key.startswith((tallies.PREFIX, b"c")) for key in saved)
    [unknown] = firm.say("forget", 401).receipts
    assert set(json.loads(unknown.value)["data"]["erased"].values()) == {0}


# --- saved state


def stored(firm: Shop) -> dict[bytes, bytes]:
    snapshot.mark_all(firm.engine.partition)
    return {key: row for key, row in firm.engine.snapshot() if row is not None}


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 0), ("n", -1), ("n", 2**53 + 1), ("day", DAY_0 + 9), ("day", DAY_0 + 1), ("kind", 2**64 - 1)],
)
def test_impossible_entries_are_refused(firm: Firm, name: str, value: int) -> None:
    for kind in ("parcel_lost", "bill_wrong"):
        firm.say(kind, 0)
        firm.say(kind, 1)
    state = firm.engine.partition.state
    second = int(state.tallies[state.tallied[0]]["next"])
    state.tallies[name][int(state.tallies[second]["next"]) if name == "day" else int(state.tallied[0])] = (
        value
    )
    if (name, value) == ("day", DAY_0 + 1):
        state.tallies["kind"][int(state.tallies[second]["next"])] = 0
    with pytest.raises(SnapshotError, match="row of tallies of own kinds is incomplete or impossible"):
        Engine.restore(firm.params, ACTIONS, stored(firm))


def test_rows_that_are_missing_cut_or_of_nobody(firm: Firm) -> None:
    firm.say("parcel_lost", 0, "ann")
    firm.say("parcel_lost", 0, "bob")
    rows = stored(firm)
    first, second = (key for key in sorted(rows) if key.startswith(tallies.PREFIX))
    with pytest.raises(SnapshotError, match="1 of 2 rows of tallies"):
        Engine.restore(firm.params, ACTIONS, {key: row for key, row in rows.items() if key != first})
    plain = payloads(rows)
    for cut in (0, 1, len(plain[first]) - 1):
        damaged = sealed({**plain, first: plain[first][:cut]})
        with pytest.raises(SnapshotError, match="incomplete or impossible"):
            Engine.restore(firm.params, ACTIONS, rows | damaged)
    with pytest.raises(SnapshotError, match="key of tallies"):
        Engine.restore(firm.params, ACTIONS, rows | sealed({first + b"x": plain[first]}))
    # Of a customer who is gone: another worker saved it, and its tombstone was not written.
    nobody = tallies.PREFIX + (99).to_bytes(6, "big")
    engine = Engine.restore(firm.params, ACTIONS, rows | sealed({nobody: plain[second]}))
    assert (nobody, None) in engine.snapshot()
    with pytest.raises(SnapshotError):
        Engine.restore(firm.params, ACTIONS, rows | altered(rows, tallies=3))


def test_only_changed_entries_are_saved(firm: Firm) -> None:
    firm.say("parcel_lost", 0, "ann")
    firm.say("parcel_lost", 0, "bob")
    stored(firm)
    firm.say("parcel_lost", 1, "bob")
    firm.say("page_view", 1, "ann")
    assert len([key for key, _ in firm.engine.snapshot() if key.startswith(tallies.PREFIX)]) == 1
    assert len(firm.engine.begin_checkpoint().beside["tallies"]) == 0
    firm.say("bill_wrong", 2, "ann")
    unsaved = firm.engine.begin_checkpoint()
    firm.engine.roll_back_checkpoint(unsaved)
    assert (firm.engine.partition.state.tallies_dirty & UNSAVED_TALLIES).sum() == 1
    assert len([key for key, _ in firm.engine.snapshot() if key.startswith(tallies.PREFIX)]) == 1


def test_an_ended_list_is_deleted_also_after_a_checkpoint_was_rolled_back(firm: Firm) -> None:
    firm.say("parcel_lost", 0)
    rows = stored(firm)
    [key] = [key for key in rows if key.startswith(tallies.PREFIX)]
    firm.say("page_view", 89)
    firm.say("page_view", 91)
    unsaved = firm.engine.begin_checkpoint()
    firm.engine.roll_back_checkpoint(unsaved)
    assert (key, None) in firm.engine.snapshot()


def test_what_tallies_cost_in_memory() -> None:
    state = Engine(rules(), ACTIONS).partition.state
    # docs/scoring.md says so: nothing where nobody has an entry, else of each customer, and of each entry.
    assert all(len(getattr(state, name)) == 0 for name in side.ARRAYS_OF_SOME)
    assert state.tallied.itemsize + state.tallies_dirty.itemsize == 5
    assert state.tallies.itemsize == 24
    assert OWN_NAMED == 3


def test_many_customers_many_kinds() -> None:
    names = [f"kind_{i:02}" for i in range(100)]
    firm = Firm(rules(*names))
    for i in range(400):
        firm.say(names[i % 100], i / 20, f"c{i % 7}")
    counted = firm.counted()
    assert sum(counted.values()) == 400
    firm.reload()
    assert firm.counted() == counted


# --- against the oracle

SETS = (
    rules(window_days=15, name="all"),
    rules("parcel_lost", "a_first", "rude_reply", name="some", window_days=15),
    rules("zone_closed", "bill_wrong", name="short", window_days=4, surge_days=2),
    ScoringParams.model_validate({**EAGER, "name": "none"}),
    ScoringParams.model_validate(
        {
            **EAGER,
            "name": "turned",
            "kinds": {"parcel_lost": {"mood": 1}, "nice_gift": {"effort": 2}, "walk_by": {"mood": -1}},
        }
    ),
)
MOVES = st.sampled_from(
    (0, 1, HOUR_MS, 9 * HOUR_MS, DAY_MS, -HOUR_MS, -DAY_MS, -3 * DAY_MS, 5 * DAY_MS, 12 * DAY_MS)
)
WHAT = st.sampled_from(
    (
        *KINDS,
        "a_first",
        "parcel_lost",
        "parcel_lost",
        "bill_wrong",
        "contact",
        "error",
        "forget",
        "rules",
        "rules",
    )
)


@st.composite
def lives(draw: st.DrawFn) -> list[Entry]:
    """Events of own kinds, and of others, of two customers under changing rules, late and out of order."""
    now, history = DAY_0 * DAY_MS + 5, []
    for i in range(draw(st.integers(2, 40))):
        kind, time = draw(WHAT), now + draw(MOVES)
        now = max(now, time)
        event: dict[str, Any] = {"specversion": "1.0", "id": f"e{i}", "source": "/s", "time": rfc3339(time)}
        if kind == "rules":
            data = json.loads(rules_of(draw(st.sampled_from(SETS)), {}).data)
            history.append(({**event, "type": RULES_TYPE, "data": data}, None))
            continue
        event["subject"] = draw(st.sampled_from("ab"))
        if kind == "forget":
            history.append(({**event, "type": FORGET_TYPE}, None))
            continue
        data = {"channel": "call"} | (
            {"wait_s": draw(st.sampled_from((0.5, 90)))} if kind == "contact" else {}
        )
        history.append(({**event, "type": f"cx.touchpoint.{kind}.v1", "data": data}, None))
    return history


def told(oracle: Oracle) -> dict[tuple[str, int, int], int]:
    """The entries that an engine should have."""
    assert oracle.clock is not None
    first = pane_of(oracle.clock) - oracle.params.window_days + 1
    first = first if oracle.floor is None else max(first, oracle.floor)
    return {
        (name, day, digest_of(kind)): n
        for name, customer in oracle.customers.items()
        for (day, kind), n in customer.own.items()
        if day >= first
    }


@given(lives(), st.sampled_from(SETS[:3]))
@settings(max_examples=80, deadline=None)
def test_entries_and_evidence_agree_with_the_oracle(history: list[Entry], params: ScoringParams) -> None:
    oracle = assert_agrees(history, params)
    values, limits = encoded(history)
    engine, parts = Engine(params, ACTIONS), Engine(params, ACTIONS)
    engine.process(Records(values, range(len(values)), limits))
    if oracle.clock is not None:
        assert entries(engine) == told(oracle)
    for i, value in enumerate(values):
        parts.process(Records([value], [i], [limits[i]]))
    assert entries(parts) == entries(engine)


@given(st.data(), lives())
@settings(max_examples=25, deadline=None)
def test_batches_and_saved_state_do_not_matter(data: st.DataObject, history: list[Entry]) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(history) - 1), unique=True, max_size=6).map(sorted))
    assert_cuts_do_not_matter(encoded(history), SETS[0], cuts)


def test_saved_rows_are_the_same_at_once_and_one_after_the_other(firm: Firm) -> None:
    kept: dict[bytes, bytes] = {}
    for i in range(60):
        firm.say(tuple(KINDS)[i % 7], i % 13, "ab"[i % 2])
        for key, row in firm.engine.snapshot():
            kept.pop(key, None)
            if row is not None:
                kept[key] = row
    at_once = stored(firm)
    assert at_once.keys() == kept.keys()
    own = [key for key in kept if key.startswith(tallies.PREFIX)]
    assert [at_once[key] for key in own] == [kept[key] for key in own]
    assert np.all([len(payloads(kept)[key]) % 24 == 0 for key in own])
