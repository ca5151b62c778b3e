"""Sets of rules: what is valid, when they are in force, and how state goes on under them."""

from __future__ import annotations

import json
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.model.errors import SnapshotError
from cxstream.model.features import FEATURES, FIRST_FEATURES
from cxstream.model.parameters import DAY_MS, HOUR_MS, MAX_OWN_KINDS, ScoringParams
from cxstream.model.rules import RulesError, json_schema, read_rules, rules_of
from cxstream.scoring.codec.vocabulary import BUILT_IN, vocabulary
from cxstream.scoring.engine import MARKER_KEY, Engine, Outcome, Records
from cxstream.scoring.router import Router
from cxstream.scoring.state import snapshot
from cxstream.scoring.state.in_force import MOST
from cxstream.settings import ACTIONS
from default_1 import DEFAULT_1, default_1
from saved import altered, marker_of, payloads
from strategies import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.scoring.engine import Read

START = 1_709_300_000_000
STRICT = default_1(name="strict", thresholds=(0.05, 0.06, 0.07))
OWN = default_1(name="own", kinds={"parcel_lost": {"effort": 6, "mood": -4, "requires": ("order_id",)}})


def record(kind: str, time: int, subject: str = "anna", **data: Any) -> bytes:
    event = {"specversion": "1.0", "id": f"{kind}-{time}", "source": "/shop", "subject": subject}
    event |= {"type": f"cx.touchpoint.{kind}.v1", "time": rfc3339(time), "data": {"channel": "web", **data}}
    return json.dumps(event).encode()


def rules(params: ScoringParams, time: int, actions: dict[str, str] = ACTIONS) -> bytes:
    event = {"specversion": "1.0", "id": f"rules-{time}", "source": "/rules", "type": "cx.rules.v1"}
    event |= {"time": rfc3339(time), "data": json.loads(rules_of(params, actions).data)}
    return json.dumps(event).encode()


def feed(engine: Engine, *values: bytes) -> Outcome:
    first = engine.next_offset
    return engine.process(Records(values, range(first, first + len(values))))


def card(engine: Engine, subject: str = "anna") -> dict[str, Any]:
    found = engine.card(subject)
    assert found is not None
    data: dict[str, Any] = json.loads(found)["data"]
    return data


def saved(engine: Engine) -> dict[bytes, bytes]:
    return {key: row for key, row in engine.snapshot() if row is not None}


# --- sets


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ([], "data"),
        ({"scorings": {}}, "data.scorings"),
        ({"scoring": {"half_life_days": 0}}, "data.scoring.half_life_days"),
        ({"scoring": {"window_days": "90"}}, "data.scoring.window_days"),
        ({"scoring": {"window_days": 90.5}}, "data.scoring.window_days"),
        ({"scoring": {"worsened": True}}, "data.scoring.worsened"),
        ({"scoring": {"intercept": 1e300}}, "data.scoring.intercept"),
        ({"scoring": {"cooldown_days": 1e300}}, "data.scoring.cooldown_days"),
        ({"scoring": {"prior_strength": 1e-300}}, "data.scoring.prior_strength"),
        ({"scoring": {"rates": {"USD": 5e-324}}}, "data.scoring.rates.USD"),
        ({"scoring": {"max_record_bytes": 4096}}, "data.scoring.max_record_bytes"),
        ({"scoring": {"thresholds": [0.5, 0.4, 0.6]}}, "data.scoring.thresholds"),
        ({"scoring": {"points": {"parcel_lost": {"effort": 1}}}}, "data.scoring.points"),
        ({"scoring": {"kinds": {"click": {}}}}, "data.scoring.kinds.click"),
        ({"scoring": {"kinds": {"Parcel": {}}}}, "data.scoring.kinds.Parcel"),
        ({"scoring": {"kinds": {"lost": {"requires": ["parcel"]}}}}, "data.scoring.kinds.lost.requires"),
        ({"scoring": {"kinds": {f"k{i}": {} for i in range(MAX_OWN_KINDS + 1)}}}, "data.scoring.kinds"),
        ({"scoring": {"name": "a b"}}, "data.scoring.name"),
        ({"actions": {"weather": "call"}}, "data.actions.weather"),
        ({"actions": {"effort": ""}}, "data.actions.effort"),
    ],
)
def test_a_set_that_is_not_valid_is_refused_by_its_field(data: Any, field: str) -> None:
    with pytest.raises(RulesError) as refused:
        read_rules(json.dumps(data).encode())
    assert refused.value.field == field


def test_numbers_that_no_float_holds_are_refused() -> None:
    with pytest.raises(RulesError, match="data"):
        read_rules(b'{"scoring":{"intercept":1e999}}')


def test_what_a_set_does_not_name_has_its_default() -> None:
    some = read_rules(b'{"scoring":{"points":{"error":{"effort":9}},"name":"some"}}')
    assert some.params.points["error"].effort == 9
    assert some.params.points["click"] == ScoringParams().points["click"]
    assert some.actions == ACTIONS
    assert read_rules(b"{}").is_same(rules_of(ScoringParams(), ACTIONS))


def test_a_complete_set_of_a_version_before_gives_new_features_no_weight() -> None:
    whole = {
        "coefficients": dict.fromkeys(FIRST_FEATURES, 1.0),
        "typical": dict.fromkeys(FIRST_FEATURES, 0.5),
    }
    params = read_rules(json.dumps({"scoring": whole}).encode()).params
    new = dict.fromkeys(FEATURES[len(FIRST_FEATURES) :], 0.0)
    assert params.coefficients == whole["coefficients"] | new
    assert params.typical == whole["typical"] | new
    some = read_rules(b'{"scoring":{"coefficients":{"effort":9}}}').params
    assert some.coefficients == ScoringParams().coefficients | {"effort": 9}


def test_the_label_names_the_set_as_it_was_written() -> None:
    written = rules_of(STRICT, ACTIONS)
    assert written.label.startswith("strict@")
    assert read_rules(written.data).label == written.label
    spaced = json.dumps(json.loads(written.data), indent=2).encode()
    assert read_rules(spaced).label == written.label
    # A parameter that a later version adds does not rename it.
    assert read_rules(b'{"scoring":{"name":"strict"}}').label != written.label


def test_kinds_keep_their_numbers_whatever_the_order_of_a_file() -> None:
    one = default_1(kinds={"b": {}, "a": {"effort": 1}})
    other = default_1(kinds={"a": {"effort": 1}, "b": {}})
    assert list(one.kinds) == list(other.kinds) == ["a", "b"]
    assert vocabulary(one.kinds).labels[-2:] == ("a", "b")
    assert vocabulary({}) is BUILT_IN


def extremes() -> list[dict[str, float]]:
    """Each number of a set at its least and its greatest value, alone."""
    fields = json_schema()["$defs"]["ScoringParams"]["properties"]
    found = []
    for name, field in fields.items():
        if field.get("type") in {"integer", "number"} and name not in {"max_record_bytes", "surge_days"}:
            least = field.get("minimum", 1e-300)
            found += [{name: least}, {name: field.get("maximum", 1 - 1e-16)}]
    return [{**each, "surge_days": 1} for each in found]


def test_scores_stay_numbers_of_0_to_100_under_any_rules() -> None:
    history = [record(kind, START + i * 3 * HOUR_MS, **data) for i, (kind, data) in enumerate(LIFE)]
    assert len(extremes()) > 60
    for scoring in extremes():
        engine = Engine(read_rules(json.dumps({"scoring": scoring}).encode()).params, ACTIONS)
        signals = [json.loads(each.value) for each in feed(engine, *history).signals]
        # JSON has null for what is no number.
        assert "null" not in json.dumps([signal["data"].get("reasons", []) for signal in signals])
        found = card(engine)
        for name, most in (("effort", 100), ("satisfaction", 100), ("probability", 1)):
            assert -1e-9 <= found[name] <= most + 1e-4, (scoring, name, found[name])


LIFE: list[tuple[str, dict[str, Any]]] = [
    ("error", {}),
    ("contact", {"topic": "bill", "wait_s": 1e9, "transfers": 1e9, "resolved": False}),
    ("contact", {"topic": "bill", "abandoned": True}),
    ("survey_ces", {"score": 1}),
    ("survey_csat", {"score": 5}),
    ("survey_nps", {"score": 10}),
    ("review", {"rating": 5}),
    ("social_post", {"sentiment": 1}),
    ("delivery", {"late_days": 1e9}),
    ("complaint_opened", {"case_id": "c"}),
    ("purchase", {"amount": 1e308, "currency": "USD"}),
    ("unsubscribed", {}),
    ("page_view", {}),
]


# --- in force


def test_rules_hold_from_the_next_record_on() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    outcome = feed(
        engine,
        record("error", START),
        rules(STRICT, START),
        record("error", START + 1000),
    )
    assert (outcome.accepted, outcome.rules) == (2, 1)
    [raised] = [json.loads(each.value) for each in outcome.signals]
    assert raised["id"] == "cx.touchpoints-0-2-0"
    assert raised["data"]["model"] == rules_of(STRICT, ACTIONS).label
    assert engine.rules.latest.offset == 1


def test_a_customer_meets_new_rules_at_the_next_evaluation() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(engine, record("error", START), record("error", START, "bob"))
    before = card(engine)
    feed(engine, rules(STRICT, START), record("error", START + 1000, "bob"))
    assert card(engine) == before
    assert card(engine, "bob")["model"].startswith("strict@")
    restored = Engine.restore(DEFAULT_1, ACTIONS, saved(engine))
    assert card(restored) == before
    tick = {
        "specversion": "1.0",
        "id": "t",
        "source": "/t",
        "type": "cx.tick.v1",
        "time": rfc3339(START + DAY_MS),
    }
    feed(engine, json.dumps(tick).encode())
    assert card(engine)["model"].startswith("strict@")
    assert len(engine.rules.sets) == 1


def test_a_set_that_is_not_later_changes_nothing() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(engine, rules(STRICT, START))
    again = feed(engine, rules(STRICT, START), rules(OWN, START), rules(OWN, START - 1))
    assert (again.rules, again.duplicates) == (0, 3)
    assert engine.params.name == "strict"
    assert feed(engine, rules(OWN, START + 1)).rules == 1


def test_a_set_from_the_future_or_an_invalid_one_is_rejected_and_changes_nothing() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    late = engine.process(Records([rules(STRICT, START + 1)], [0], [START + 300_000], grace=300_000))
    assert [each.reason for each in late.rejected] == ["from_the_future"]
    broken = rules(STRICT, START).replace(b'"half_life_days": 14.0', b'"half_life_days": -1')
    [refused] = feed(engine, broken).rejected
    assert (refused.reason, refused.field) == ("invalid", "data.scoring.half_life_days")
    assert engine.params.name == "default-1"


def test_kinds_of_ones_own_are_scored_as_the_rules_in_force_say() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    lost = record("parcel_lost", START, order_id="o-1")
    outcome = feed(
        engine,
        lost,
        rules(OWN, START),
        record("parcel_lost", START + 1),
        record("parcel_lost", START + 2, order_id="o-1"),
        rules(DEFAULT_1, START + 3),
        record("parcel_lost", START + 4, order_id="o-1"),
    )
    assert [(each.index, each.field) for each in outcome.rejected] == [
        (0, "type"), (2, "data.order_id"), (5, "type"),
    ]  # fmt: skip
    assert "[scoring.kinds.parcel_lost]" in outcome.rejected[0].message
    assert outcome.accepted == 1
    assert card(engine)["acute"] == 6


def test_what_was_read_ahead_is_read_again_under_other_rules() -> None:
    engine = Engine(ScoringParams(), ACTIONS)
    batch = Records([record("parcel_lost", START + 1, order_id="o-1")], [1])
    ahead = engine.read_ahead(batch)
    assert [each.field for each in ahead.decoded.rejected] == ["type"]
    feed(engine, rules(OWN, START))
    [(_, piece, decoded)] = engine.pieces(batch, ahead)
    assert engine.score(decoded, piece).accepted == 1
    batch = Records([record("parcel_lost", START + 2, order_id="o-2")], [2])
    ahead = engine.read_ahead(batch)
    [(_, piece, decoded)] = engine.pieces(batch, ahead)
    assert decoded is ahead.decoded
    assert engine.score(decoded, piece).accepted == 1


def test_what_is_read_while_rules_change_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(ScoringParams(), ACTIONS)
    batch = Records([record("parcel_lost", START + 1, order_id="o-1")], [1])
    ahead: list[Read] = []

    def read_ahead() -> None:
        reader = Thread(target=lambda: ahead.append(engine.read_ahead(batch)))
        reader.start()
        reader.join(60)
        assert ahead, "reading waits for the change that waits for it"

    def beside(change: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        read_ahead()
        found = change(*args, **kwargs)
        read_ahead()
        return found

    for owner, name in ((engine._writer, "follow"), (engine.rules, "follow"), (engine.partition, "change")):
        monkeypatch.setattr(owner, name, partial(beside, getattr(owner, name)))
    feed(engine, rules(OWN, START))
    assert len(ahead) == 6
    for each in ahead:
        [(_, _, decoded)] = engine.pieces(batch, each)
        assert not decoded.rejected


def test_a_friction_signal_names_the_kind_of_ones_own_that_caused_it() -> None:
    engine = Engine(OWN, ACTIONS)
    lost = [record("parcel_lost", START + i, order_id="o") for i in range(2)]
    [friction] = [
        json.loads(each.value) for each in feed(engine, *lost).signals if each.topic == "cx.friction"
    ]
    assert friction["data"]["evidence"] == "2 parcel_lost today"


def test_a_router_puts_a_set_in_force_in_every_partition() -> None:
    values = [record("error", START + i, f"customer-{i % 9}") for i in range(60)]
    values[30:30] = [rules(STRICT, START + 30)]
    router = Router(DEFAULT_1, ACTIONS, partitions=3)
    outcome = router.process(values)
    assert (outcome.rules, outcome.accepted) == (1, 60)
    assert {engine.params.name for engine in router.engines} == {"strict"}
    assert sum(engine.next_offset for engine in router.engines) == 60 + 3
    one_by_one = Router(DEFAULT_1, ACTIONS, partitions=3)
    parts = [one_by_one.process([value]) for value in values]
    assert [row.value for part in parts for row in part.rows] == [row.value for row in outcome.rows]
    assert outcome.fates is not None
    assert len(outcome.fates.positions) == 61


def test_many_sets_in_a_day_are_bounded() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(engine, record("error", START))
    for i in range(3 * MOST):
        feed(engine, rules(STRICT.model_copy(update={"z": 1 + i / 100}), START + i))
        assert len(engine.rules.sets) <= MOST
    assert card(engine)["model"].startswith("strict@")


# --- saved state


def test_no_saved_state_is_refused_because_the_settings_changed() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(engine, record("complaint_opened", START, case_id="c"))
    rows = saved(engine)
    other = default_1(half_life_days=7, window_days=30, name="other")
    restored = Engine.restore(other, {**ACTIONS, "effort": "write"}, rows)
    assert restored.params == DEFAULT_1
    assert restored.follow_settings()
    assert restored.must_save
    assert restored.params == other
    assert not restored.follow_settings()
    again = Engine.restore(other, {**ACTIONS, "effort": "write"}, rows | saved(restored))
    assert not again.follow_settings()
    assert dict(again.cards()) == dict(restored.cards())


def test_rules_of_the_log_win_over_the_settings() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(engine, rules(OWN, START), record("parcel_lost", START, order_id="o"))
    restored = Engine.restore(STRICT, ACTIONS, saved(engine))
    assert not restored.follow_settings()
    assert restored.params.name == "own"
    assert feed(restored, rules(OWN, START)).duplicates == 1
    assert feed(restored, record("parcel_lost", START + 1, order_id="o")).accepted == 1


def test_a_longer_window_does_not_bring_back_days_that_had_left_it() -> None:
    short, long = (default_1(window_days=days, surge_days=3, name=f"w{days}") for days in (20, 90))
    engine = Engine(short, ACTIONS)
    feed(engine, record("error", START), record("error", START + 25 * DAY_MS))
    feed(engine, rules(long, START + 25 * DAY_MS))
    restored = Engine.restore(short, ACTIONS, saved(engine))
    for each in (engine, restored):
        # Sent again after its day had left the window: it must not count twice.
        outcome = feed(each, record("app_crash", START), record("error", START + 6 * DAY_MS))
        assert (outcome.accepted, [refused.reason for refused in outcome.rejected]) == (1, ["too_late"])
        assert card(each)["touches"]["90"] == 2
        later = feed(each, record("error", START + 80 * DAY_MS), record("error", START + 7 * DAY_MS))
        assert (later.accepted, later.rejected) == (2, [])


def test_days_that_leave_a_shorter_window_are_deleted_at_once() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    bought = [record("purchase", START + day * DAY_MS, amount=9, currency="EUR") for day in (0, 15, 30)]
    feed(engine, *bought, rules(default_1(window_days=20, name="short"), START + 30 * DAY_MS))
    restored = Engine.restore(DEFAULT_1, ACTIONS, saved(engine))
    for each in (engine, restored):
        snapshot.mark_all(each.partition)
    rows, again = payloads(saved(engine)), payloads(saved(restored))
    assert rows == again
    assert card(engine)["purchases"] == 3


def test_state_with_rules_that_cannot_be_read_is_refused() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(engine, record("error", START))
    rows = saved(engine)
    with pytest.raises(SnapshotError, match="has no rules"):
        Engine.restore(DEFAULT_1, ACTIONS, rows | altered(rows, rules=()))
    raw = rows[MARKER_KEY].replace(b'"half_life_days":14.0', b'"half_life_days":-1.0')
    assert raw != rows[MARKER_KEY]
    with pytest.raises(SnapshotError, match="damaged"):
        Engine.restore(DEFAULT_1, ACTIONS, rows | {MARKER_KEY: raw})
    assert marker_of(rows).params == rules_of(DEFAULT_1, ACTIONS).label
