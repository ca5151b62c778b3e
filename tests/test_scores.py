"""The kernels against the slow oracle, and the law that decides: where a log is cut changes no byte."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels import layout
from cxstream.model.enumerations import LEVELS
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE, Kind
from cxstream.model.parameters import DAY_MS, MINUTE_MS, ScoringParams
from cxstream.model.rules import rules_of
from cxstream.model.scored import FLAGS
from cxstream.scoring.engine import MARKER_KEY, Emitted, Engine, Outcome, Records
from cxstream.scoring.state import snapshot
from cxstream.settings import Settings
from oracle import Oracle, to_ms
from strategies import PARAMS, Entry, histories, random_history, rfc3339

ACTIONS = Settings().actions
NO_LIMIT = np.iinfo(np.int64).max
Log = tuple[list[bytes], list[int]]


def encoded(history: list[Entry]) -> Log:
    return (
        [json.dumps(event, ensure_ascii=False).encode() for event, _ in history],
        [NO_LIMIT if limit is None else limit for _, limit in history],
    )


def run(engine: Engine, log: Log, begin: int, end: int, grace: int = 0) -> Outcome:
    values, limits = log
    return engine.process(Records(values[begin:end], range(begin, end), limits[begin:end], grace=grace))


def reloaded(engine: Engine, saved: dict[bytes, bytes], params: ScoringParams) -> Engine:
    """Save what has changed, as a compacted topic keeps it, and load it."""
    number, count = engine.partition.number, engine.partitions
    for key, value in engine.snapshot():
        if value is None:
            saved.pop(key, None)
        else:
            saved[key] = value
    return Engine.restore(params, ACTIONS, saved, partition=number, partitions=count)


def numbers_of(signal: bytes) -> dict[str, Any]:
    event = json.loads(signal)
    return {"id": event["id"], "subject": event["subject"], "time": to_ms(event["time"]), **event["data"]}


def day_of(text: str | None) -> int | None:
    return None if text is None else to_ms(f"{text}T00:00:00Z") // DAY_MS


def assert_like(ours: dict[str, Any], theirs: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if isinstance(theirs[name], float):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-9, abs=1e-9), (name, ours["id"])
        else:
            assert ours[name] == theirs[name], (name, ours["id"])


def receipt_of(emitted: Emitted) -> dict[str, Any]:
    data = json.loads(emitted.value)["data"]
    return {"request": data["request"], "known": data["known"], **data["erased"]}


def named(own: list[tuple[str, int, bool]], *, effort: bool) -> list[str]:
    """Kinds of the company's own that evidence should name."""
    return [f"{n} {name}" for name, n, costs in own if costs == effort]


def named_in(evidence: str) -> list[str]:
    """Kinds of the company's own that it names with a count."""
    return re.findall(r"\d+ [a-z]+_[a-z]+", evidence)


COMMON = ("id", "subject", "time")
RISK = (
    *COMMON, "change", "level", "previous", "probability", "effort", "effort_halfwidth", "satisfaction",
    "satisfaction_halfwidth", "value_at_risk",
)  # fmt: skip
ERASED = (*COMMON, "change", "level", "previous")
FRICTION = (*COMMON, "effort_points", "channel", "touchpoint")
CARD = (
    "effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth", "probability", "level", "announced",
    "acute", "touches", "purchases", "last_purchase", "spent", "p_alive", "clv",
    "value_at_risk",
)  # fmt: skip


SCORED = ("effort", "mood", "effort_after", "satisfaction_after", "probability_after", "amount_base")


def told_of_each(engine: Engine) -> Engine:
    engine.scored = True
    return engine


def scored_rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    rows = []
    for each in outcomes:
        if (of := each.scored) is not None:
            names = ("offset", "time", "kind", "id", "model", "amount_base", *of.verdicts.dtype.names)
            amounts = [None if np.isnan(amount) else amount for amount in of.amounts.tolist()]
            ids, kinds, models = [e.id for e in of.events], of.kinds.strings(), of.models.strings()
            columns = [of.offsets.tolist(), of.times.tolist(), kinds, ids, models]
            verdicts = of.verdicts.tolist()
            rows += [
                dict(zip(names, (*row, *verdict), strict=True))
                for *row, verdict in zip(*columns, amounts, verdicts, strict=True)
            ]
    return rows


def assert_scored_like(outcomes: list[Outcome], offsets: list[int], oracle: Oracle) -> None:
    rows = scored_rows(outcomes)
    assert [row["offset"] for row in rows] == offsets
    assert len(rows) == len(oracle.scored)
    for ours, theirs in zip(rows, oracle.scored, strict=True):
        said = ours["id"], ours["kind"], LEVELS[ours["level_after"]], ours["time"]
        assert said == (theirs["id"], theirs["kind"], theirs["level_after"], theirs["time"])
        assert {name for name, bit in FLAGS.items() if ours["flags"] & bit} == {n for n in FLAGS if theirs[n]}
        assert ours["behind"] == theirs["behind_ms"]
        # All but the amount are float32.
        close = [None if theirs[n] is None else 1e-6 * (1 + abs(theirs[n])) for n in SCORED]
        for name, most in zip(SCORED, close, strict=True):
            assert (ours[name] is None) == (most is None), name
            assert most is None or abs(ours[name] - theirs[name]) <= most, (name, ours, theirs)


def assert_agrees(history: list[Entry], params: ScoringParams, grace: int = 0) -> Oracle:
    oracle = Oracle(params)
    status = [oracle.feed(event, offset, limit, grace) for offset, (event, limit) in enumerate(history)]
    engine = told_of_each(Engine(params, ACTIONS))
    outcome = run(engine, encoded(history), 0, len(history), grace)

    assert [(r.index, r.reason) for r in outcome.rejected] == [
        (i, s) for i, s in enumerate(status) if s in ("too_late", "from_the_future", "invalid")
    ]
    assert (outcome.accepted, outcome.duplicates) == (status.count("accepted"), status.count("duplicate"))
    assert (outcome.erased, outcome.rules) == (status.count("erased"), status.count("rules"))
    assert [receipt_of(emitted) for emitted in outcome.receipts] == oracle.receipts
    assert outcome.held_back == oracle.held_back
    assert engine.clock == oracle.clock
    assert len(outcome.signals) == len(oracle.signals)
    for emitted, theirs, own in zip(outcome.signals, oracle.signals, oracle.named, strict=True):
        ours = numbers_of(emitted.value)
        friction, erased = theirs["kind"] == "friction", theirs.get("change") == "erased"
        assert emitted.topic == ("cx.friction" if friction else "cx.churn-risk")
        assert_like(ours, theirs, FRICTION if friction else ERASED if erased else RISK)
        if erased:
            assert set(ours) == {*ERASED, "cause"}
        elif friction:
            assert named_in(ours["evidence"]) == named(own, effort=True)
        else:
            for name in ("experiment", "arm"):
                assert ours.get(name, "absent") == theirs.get(name, "absent")
            assert ("p_alive" in ours, "clv" in ours) == ("p_alive" in theirs, "clv" in theirs)
            assert_like(ours, theirs, tuple({"p_alive", "clv"} & theirs.keys()))
            for reason in ours["reasons"]:
                name = reason["feature"]
                if reason["contribution"] > 0 and name in {"effort", "dissatisfaction"}:
                    expected = named(own, effort=name == "effort")
                    assert named_in(reason["evidence"]) == expected
                assert reason["value"] == pytest.approx(theirs["features"][name], rel=1e-9, abs=1e-9)
                assert reason["contribution"] == pytest.approx(
                    theirs["contributions"][name], rel=1e-9, abs=1e-9
                )

    assert_scored_like([outcome], [offset for offset, s in enumerate(status) if s == "accepted"], oracle)
    cards = dict(engine.cards())
    assert set(cards) == set(oracle.customers)
    for subject, card in cards.items():
        ours, theirs = numbers_of(card), oracle.card(subject)
        ours["last_purchase"] = day_of(ours["last_purchase"])
        assert_like(ours, theirs, CARD)
        assert (ours["time"], to_ms(ours["last_touch"])) == (theirs["time"], theirs["last_touch"])
        assert ours["features"] == pytest.approx(theirs["features"], rel=1e-9, abs=1e-9)
    return oracle


HISTORIES = histories(min_size=2, max_size=80) | histories(min_size=2, max_size=80, rules=True)


def view(subject: str, time: str) -> Entry:
    event = {"specversion": "1.0", "id": subject + time, "source": "/s", "subject": subject, "time": time}
    return event | {"type": "cx.touchpoint.page_view.v1", "data": {"channel": "web"}}, None


@given(
    history=histories(max_size=120) | histories(max_size=120, rules=True),
    params=st.sampled_from(sorted(PARAMS)),
    grace=st.sampled_from((0, 1, 5 * MINUTE_MS)),
)
@settings(max_examples=250, deadline=None)
def test_kernels_agree_with_the_oracle(history: list[Entry], params: str, grace: int) -> None:
    assert_agrees(history, PARAMS[params], grace)


GRACE = 5 * MINUTE_MS
around = st.sampled_from((-DAY_MS, -GRACE, -1, 0, 1, 1000, GRACE - 1, GRACE, GRACE + 1))
asked = st.tuples(
    st.sampled_from(("cx.touchpoint.error.v1", FORGET_TYPE, FORGET_TYPE, TICK_TYPE)),
    st.sampled_from("ab"),
    st.sampled_from((0, 1, 1000, GRACE, DAY_MS)),
    around,
)


@given(st.lists(asked, max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_request_silences_what_is_newer_than_its_own_place_in_the_log(
    told: list[tuple[str, str, int, int]],
) -> None:
    """What a customer does after their request has come into the log counts, whatever time the request says."""
    now, history, arrived = to_ms("2025-03-01T00:00:00Z"), [], []
    for number, (kind, subject, later, ahead) in enumerate(told):
        now += later
        event = view(subject, rfc3339(now + ahead))[0] | {"id": f"{number}", "type": kind}
        history.append((event, now + GRACE))
        arrived.append(now)
    oracle = Oracle()
    outcome = run(Engine(ScoringParams(), ACTIONS), encoded(history), 0, len(history), GRACE)
    requests: dict[str, int] = {}
    for offset, ((event, limit), status) in enumerate(zip(history, outcome.status.tolist(), strict=True)):
        assert (oracle.feed(event, offset, limit, GRACE) == "erased") == (status == layout.ERASED)
        if event["type"] == FORGET_TYPE:
            requests[event["subject"]] = arrived[offset]
        elif status == layout.ERASED:
            assert to_ms(event["time"]) <= requests[event["subject"]]


@pytest.mark.parametrize(
    ("kind", "ahead", "reason"),
    [
        ("cx.forget.v1", 0, None),
        ("cx.forget.v1", 1, "from_the_future"),
        ("cx.forget.v1", 290_000, "from_the_future"),
        ("cx.tick.v1", 0, None),
        ("cx.tick.v1", 1, "from_the_future"),
        ("cx.touchpoint.page_view.v1", 290_000, None),
        ("cx.touchpoint.page_view.v1", 300_001, "from_the_future"),
    ],
)
def test_a_control_record_has_no_grace(kind: str, ahead: int, reason: str | None) -> None:
    now, grace = to_ms("2025-03-01T00:00:00Z"), GRACE
    event = view("anna", rfc3339(now + ahead))[0] | {"type": kind}
    oracle, engine = Oracle(), Engine(ScoringParams(), ACTIONS)
    outcome = run(engine, encoded([(event, now + grace)]), 0, 1, grace)
    assert [each.reason for each in outcome.rejected] == ([reason] if reason else [])
    assert (oracle.feed(event, 0, now + grace, grace) == "from_the_future") == (reason is not None)
    assert (engine.clock, oracle.clock) in {(None, None), (now + ahead, now + ahead)}
    if reason:
        assert engine.clock is None


@cache
def long_history(seed: int, n: int, *, rules: bool) -> list[Entry]:
    """Made up once for all parameters."""
    return random_history(seed, n, rules=rules)


@pytest.mark.parametrize("params", sorted(PARAMS))
@pytest.mark.parametrize("seed", range(4))
def test_kernels_agree_with_the_oracle_over_long_histories(seed: int, params: str) -> None:
    oracle = assert_agrees(long_history(seed, 6_000, rules=seed % 2 == 1), PARAMS[params])
    assert len(oracle.signals) > 100  # otherwise nothing was compared
    assert sum(receipt["known"] for receipt in oracle.receipts) > 5


def results(outcomes: list[Outcome], engine: Engine) -> Any:
    return (
        [(s.topic, s.key, s.value) for o in outcomes for s in o.signals],
        [(s.topic, s.key, s.value) for o in outcomes for s in o.receipts],
        sum(o.erased for o in outcomes),
        sum(o.accepted for o in outcomes),
        sum(o.duplicates for o in outcomes),
        sum(o.held_back for o in outcomes),
        [r.reason for o in outcomes for r in o.rejected],
        scored_rows(outcomes),
        list(engine.cards()),
    )


def assert_cuts_do_not_matter(log: Log, params: ScoringParams, cuts: list[int]) -> None:
    n = len(log[0])
    whole = told_of_each(Engine(params, ACTIONS))
    expected = results([run(whole, log, 0, n)], whole)
    engine, saved, outcomes = Engine(params, ACTIONS), {}, []
    for begin, end in zip([0, *cuts], [*cuts, n], strict=True):
        told_of_each(engine)
        outcomes.append(run(engine, log, begin, end))
        engine = reloaded(engine, saved, params)
    assert results(outcomes, engine) == expected
    assert engine.next_offset == n


@given(data=st.data(), history=HISTORIES, params=st.sampled_from(sorted(PARAMS)))
@settings(max_examples=100, deadline=None)
def test_stopping_at_any_record_and_going_on_from_the_saved_state(
    data: st.DataObject, history: list[Entry], params: str
) -> None:
    cuts = data.draw(st.lists(st.integers(1, len(history) - 1), unique=True, max_size=6).map(sorted))
    assert_cuts_do_not_matter(encoded(history), PARAMS[params], cuts)


@pytest.mark.parametrize("params", sorted(PARAMS))
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_of_any_size_give_the_same_bytes(size: int, params: str) -> None:
    log = encoded(long_history(11, 3_000, rules=True))
    n = len(log[0])
    whole, parts = (told_of_each(Engine(PARAMS[params], ACTIONS)) for _ in range(2))
    expected = results([run(whole, log, 0, n)], whole)
    assert len(expected[0]) > 100
    outcomes = [run(parts, log, begin, min(begin + size, n)) for begin in range(0, n, size)]
    assert results(outcomes, parts) == expected


@pytest.mark.parametrize("params", sorted(PARAMS))
def test_saving_and_loading_after_every_batch(params: str) -> None:
    log = encoded(long_history(12, 1_500, rules=True))
    assert_cuts_do_not_matter(log, PARAMS[params], list(range(37, len(log[0]), 37)))


def test_a_full_load_equals_an_incremental_one() -> None:
    """The latest rows of a compacted topic are the same as all rows written at once."""
    log = encoded(random_history(13, 2_000, rules=True))
    engine, saved = Engine(ScoringParams(), ACTIONS), {}
    for begin in range(0, len(log[0]), 100):
        run(engine, log, begin, min(begin + 100, len(log[0])))
        reloaded(engine, saved, ScoringParams())
    other = reloaded(engine, saved, ScoringParams())
    snapshot.mark_all(other.partition)
    at_once = {key: value for key, value in other.snapshot() if value is not None}
    assert at_once.keys() == saved.keys()
    assert at_once[MARKER_KEY] == saved[MARKER_KEY]


def test_a_quiet_customers_card_survives_two_loads_after_its_last_sweep() -> None:
    """The sweep does not change his saved row; that it looked at him is in the marker, and must stay there."""
    third = "2026-03-03T10:00:00Z"
    log = encoded(
        [view("quiet", "2026-03-01T10:00:00Z"), view("b", third), view("c", third), view("d", third)]
    )
    assert_cuts_do_not_matter(log, ScoringParams(), [1, 2, 3])


@pytest.mark.parametrize("late", [0, 1])
def test_a_year_without_a_touch_to_the_millisecond(late: int) -> None:
    midnight = f"2025-03-01T00:00:00.00{late}Z"
    history = [
        view("gone", midnight),
        view("other", "2026-02-28T12:00:00Z"),
        view("other", "2026-03-01T12:00:00Z"),
    ]
    assert ("gone" in assert_agrees(history, ScoringParams()).customers) == bool(late)


def test_the_flags_of_the_kernel_are_those_of_the_column() -> None:
    assert {
        "repeat_contact": layout.REPEATED,
        "channel_switch": layout.SWITCHED,
        "rage_click": layout.RAGED,
        "late": layout.LATE,
        "failed": layout.FAILED,
    } == FLAGS


@pytest.mark.parametrize("params", sorted(PARAMS))
def test_telling_what_each_touchpoint_counted_for_changes_nothing_else(params: str) -> None:
    log = encoded(random_history(14, 3_000, rules=True))
    told, other = told_of_each(Engine(PARAMS[params], ACTIONS)), Engine(PARAMS[params], ACTIONS)
    outcomes = [run(engine, log, 0, len(log[0])) for engine in (told, other)]
    assert outcomes[0] == outcomes[1]
    assert list(told.snapshot()) == list(other.snapshot())
    assert len(scored_rows(outcomes[:1])) > 1000
    assert outcomes[1].scored is None


@given(history=HISTORIES, params=st.sampled_from(sorted(PARAMS)), cut=st.integers(0, 80))
@settings(max_examples=120, deadline=None)
def test_an_event_that_cannot_change_the_risk_needs_no_evaluation(
    history: list[Entry], params: str, cut: int
) -> None:
    log, saved, cut = encoded(history), dict[bytes, bytes](), min(cut, len(history))
    told, other = told_of_each(Engine(PARAMS[params], ACTIONS)), Engine(PARAMS[params], ACTIONS)
    outcomes = [run(told, log, 0, cut), run(told, log, cut, len(history))]
    each, evaluated = told_of_each(Engine(PARAMS[params], ACTIONS)), list[Outcome]()
    for i in range(len(history)):
        if each.customers:
            each.partition.unsettle()  # so that it evaluates the customer at each event
        evaluated.append(run(each, log, i, i + 1))
    assert written(evaluated) == written(outcomes)
    assert scored_rows(evaluated) == scored_rows(outcomes)
    assert dict(each.cards()) == dict(told.cards())
    assert run(other, log, 0, cut) == outcomes[0]
    other = reloaded(other, saved, PARAMS[params])
    assert run(other, log, cut, len(history)) == outcomes[1]
    assert dict(other.cards()) == dict(told.cards())


def written(outcomes: list[Outcome]) -> dict[str, list[tuple[bytes | None, bytes | None]]]:
    """Keys and values of all that follows, by topic: receipts stand behind the signals of their batch."""
    found: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
    for row in (row for outcome in outcomes for row in outcome.rows):
        found.setdefault(row.topic, []).append((row.key, row.value))
    return found


def test_visits_change_nothing_but_that_there_was_one() -> None:
    """What the kernel takes for granted where it evaluates nobody at an event of these kinds."""
    visits = {kind.label for kind in Kind if kind.spec.visit}
    assert visits == {
        "page_view", "search", "click", "app_open", "store_visit", "email_sent", "campaign_sent", "campaign_opened",
        "campaign_clicked",
    }  # fmt: skip


@pytest.mark.parametrize("reloads", [False, True])
@pytest.mark.parametrize("tells", [False, True])
def test_other_rules_judge_a_customer_at_an_event_that_cannot_change_the_risk(
    reloads: bool, tells: bool
) -> None:
    stricter = json.loads(
        rules_of(ScoringParams(thresholds=(0.0002, 0.16, 0.39), hysteresis=0.0001), {}).data
    )
    rules = {
        "specversion": "1.0",
        "id": "r",
        "source": "/r",
        "type": RULES_TYPE,
        "time": "2026-01-01T10:02:00Z",
    }
    times = [f"2026-01-01T10:0{minute}:00Z" for minute in (0, 1, 3, 4)]
    views = [view("anna", time) for time in times]
    log = encoded([*views[:2], (rules | {"data": stricter}, None), *views[2:]])
    engine = Engine(ScoringParams(), ACTIONS)
    engine.scored = tells
    assert not run(engine, log, 0, 3).signals
    if reloads:
        engine = reloaded(engine, {}, ScoringParams())
        engine.scored = tells
    [raised] = run(engine, log, 3, 5).signals
    assert numbers_of(raised.value)["time"] == to_ms(times[2])
