"""What a CRM agent reads, and what the engine does with records that are not good."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.model.errors import SnapshotError
from cxstream.scoring.codec.decode import read_subject
from cxstream.scoring.codec.routing import partition_of
from cxstream.scoring.engine import MARKER_KEY, Engine, Outcome, Records
from cxstream.scoring.router import Router
from cxstream.settings import Settings
from default_1 import DEFAULT_1
from saved import altered, payloads, sealed

if TYPE_CHECKING:
    from cxstream.model.parameters import ScoringParams

ACTIONS = Settings().actions
N = iter(range(10**9))


def touchpoint(kind: str, time: str, subject: str = "anna", **data: Any) -> bytes:
    data.setdefault("channel", "web")
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(next(N)),
            "source": "/shop",
            "type": f"cx.touchpoint.{kind}.v1",
            "subject": subject,
            "time": time,
            "data": data,
        }
    ).encode()


def call(time: str, topic: str | None = "invoice", **data: Any) -> bytes:
    return touchpoint("contact", time, channel="call", **({"topic": topic} if topic else {}), **data)


def feed(*values: bytes, engine: Engine | None = None) -> Outcome:
    engine = engine or Engine(DEFAULT_1, ACTIONS)
    first = engine.next_offset
    return engine.process(Records(values, range(first, first + len(values))))


def risk(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(s.value)["data"] for s in outcome.signals if s.topic == "cx.churn-risk"]


def evidence(data: dict[str, Any]) -> dict[str, str]:
    return {reason["feature"]: reason["evidence"] for reason in data["reasons"]}


def test_reasons_read_as_an_agent_wants_them() -> None:
    outcome = feed(
        touchpoint("complaint_opened", "2026-03-01T09:00:00Z", case_id="c-1"),
        call("2026-03-05T09:00:00Z", wait_s=300),
        call("2026-03-06T09:00:00Z", wait_s=240),
        call("2026-03-07T09:00:00Z", wait_s=300, resolved=False),
    )
    last = risk(outcome)[-1]
    assert evidence(last)["effort"] == (
        "3 contacts about 'invoice' in 7 days, 14 min waited, 1 contact unresolved, complaint open for 6 days"
    )
    assert evidence(last)["complaint"] == "complaint open for 6 days"
    assert last["reasons"][0]["feature"] == "effort"
    assert last["suggested_action"] == ACTIONS["effort"]
    strengths = [reason["contribution"] for reason in last["reasons"]]
    assert strengths == sorted(strengths, reverse=True)


def test_the_topic_that_comes_most_often_is_named() -> None:
    outcome = feed(
        call("2026-03-05T09:00:00Z", "delivery", wait_s=600, resolved=False),
        call("2026-03-05T10:00:00Z", "invoice", wait_s=600, resolved=False),
        call("2026-03-05T11:00:00Z", "invoice", wait_s=600, resolved=False),
    )
    assert evidence(risk(outcome)[-1])["effort"].startswith(
        "3 contacts in 7 days, 2 about 'invoice', 30 min waited"
    )


def test_evidence_of_the_other_features() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    outcome = feed(
        *(touchpoint("page_view", f"2026-03-{day:02}T09:00:00Z") for day in (1, 3, 5)),
        touchpoint("survey_nps", "2026-03-06T09:00:00Z", score=2),
        touchpoint("survey_csat", "2026-03-06T09:01:00Z", score=1),
        touchpoint("unsubscribed", "2026-03-07T09:00:00Z"),
        touchpoint("error", "2026-03-07T09:00:00Z"),
        engine=engine,
    )
    said = evidence(risk(outcome)[-1])
    assert said["detractor"] == "NPS answer 2, yesterday"
    assert said["unsubscribed"] == "unsubscribed today"
    assert said["dissatisfaction"].endswith("with recent answers")
    later = engine.advance(1_773_964_800_000)  # 2026-03-20
    assert later.signals, "two weeks of silence change the level"
    said = evidence(risk(later)[-1])
    assert said["silence"].startswith("no touch for ")
    assert said["silence"].endswith("usually one every 1.5 days")


def test_friction_says_where_and_why() -> None:
    outcome = feed(
        touchpoint("app_crash", "2026-03-05T09:00:00Z", channel="app", touchpoint="checkout"),
        touchpoint("app_crash", "2026-03-05T09:01:00Z", channel="app", touchpoint="checkout"),
        touchpoint("app_crash", "2026-03-05T09:02:00Z", channel="app", touchpoint="checkout"),
    )
    (signal,) = [json.loads(s.value) for s in outcome.signals if s.topic == "cx.friction"]
    assert signal["id"] == "cx.touchpoints-0-2-0"
    assert signal["subject"] == "anna"
    assert signal["data"]["channel"] == "app"
    assert signal["data"]["touchpoint"] == "checkout"
    assert signal["data"]["evidence"] == "3 failed digital steps today"
    assert signal["data"]["cause"] == {"topic": "cx.touchpoints", "partition": 0, "offset": 2}


def test_actions_come_from_the_users_table() -> None:
    engine = Engine(DEFAULT_1, {"effort": "send_flowers"})
    outcome = feed(
        *(call(f"2026-03-05T1{h}:00:00Z", wait_s=900, resolved=False) for h in range(3)), engine=engine
    )
    assert risk(outcome)[-1]["suggested_action"] == "send_flowers"
    outcome = feed(
        *(call(f"2026-03-05T1{h}:00:00Z", wait_s=900) for h in range(3)), engine=Engine(DEFAULT_1, {})
    )
    assert risk(outcome)[-1]["suggested_action"] is None


def test_one_bad_record_costs_its_neighbours_nothing() -> None:
    good = [touchpoint("page_view", "2026-03-05T09:00:00Z", subject=str(i)) for i in range(3)]
    bad = [b"{", good[0].replace(b'"channel"', b'"chanel"'), good[0].replace(b"page_view", b"page_wiev")]
    bad.append(good[0].replace(b"2026-03-05T09:00:00Z", b"yesterday"))
    mixed = [good[0], bad[0], bad[1], good[1], bad[2], bad[3], good[2]]
    engine = Engine(DEFAULT_1, ACTIONS)
    outcome = feed(*mixed, engine=engine)
    assert [(r.index, r.reason, r.field) for r in outcome.rejected] == [
        (1, "malformed", ""),
        (2, "invalid", "data.channel"),
        (4, "invalid", "type"),
        (5, "invalid", "time"),
    ]
    assert outcome.accepted == engine.customers == 3


def test_a_key_that_is_not_the_subject_is_invalid() -> None:
    values = [touchpoint("page_view", "2026-03-05T09:00:00Z", subject=s) for s in ("a", "b", "ü")]
    tick = b'{"specversion":"1.0","type":"cx.tick.v1","id":"1","source":"/t","time":"2026-03-06T00:00:00Z"}'
    engine = Engine(DEFAULT_1, ACTIONS)
    outcome = engine.process(Records([*values, tick], range(4), keys=[b"a", None, "ü".encode(), None]))
    assert [(r.index, r.reason, r.field) for r in outcome.rejected] == [(1, "invalid", "key")]
    assert (outcome.accepted, outcome.ticks) == (2, 1)


def test_binary_and_structured_mode_score_alike() -> None:
    value = touchpoint("page_view", "2026-03-05T09:00:00Z")
    event = json.loads(value)
    data = json.dumps(event.pop("data")).encode()
    headers = [(f"ce_{name}", text.encode()) for name, text in event.items()]
    headers.append(("content-type", b"application/json"))
    one, other = Engine(DEFAULT_1, ACTIONS), Engine(DEFAULT_1, ACTIONS)
    assert one.process(Records([value], [0])).accepted == 1
    outcome = other.process(Records([data, data], [0, 1], headers=[headers, headers[:-2]]))
    assert outcome.accepted == 1
    assert list(one.cards()) == list(other.cards())
    assert [r.index for r in outcome.rejected] == [1]


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (b"\0" * 100, "malformed", ""),
        (b"[]", "malformed", ""),
        (b"null", "malformed", ""),
        (b'"text"', "malformed", ""),
        (b"\xff\xfe", "malformed", ""),
        (b'{"type":3}', "invalid", "type"),
        (b'{"type":3', "malformed", ""),
        (b"{}", "invalid", "type"),
    ],
)
def test_reasons(raw: bytes, reason: str, field: str) -> None:
    (rejected,) = feed(raw).rejected
    assert (rejected.reason, rejected.field) == (reason, field)


def test_nesting_has_a_limit_that_does_not_depend_on_the_caller() -> None:
    def nested(levels: int) -> bytes:
        event = touchpoint("page_view", "2026-03-05T09:00:00Z")
        return event[:-1] + b',"extra":' + b"[" * levels + b"]" * levels + b"}"

    def from_deep_down(levels: int, raw: bytes) -> Outcome:
        return from_deep_down(levels - 1, raw) if levels else feed(raw)

    assert feed(nested(511)).accepted == from_deep_down(100, nested(511)).accepted == 1
    for levels in (512, 5_000, 500_000):
        (rejected,) = feed(nested(levels)).rejected
        assert (rejected.reason, rejected.message) == ("malformed", "nested deeper than 512")


def test_where_a_record_nested_too_deeply_belongs_does_not_depend_on_the_caller_either() -> None:
    def read_from(levels: int, raw: bytes) -> str | None:
        return read_from(levels - 1, raw) if levels else read_subject(raw)

    raw = touchpoint("page_view", "2026-03-05T09:00:00Z")
    for brackets, subject in ((500, "anna"), (600, None), (930, None)):
        deep = raw[:-1] + b',"extra":' + b"[" * brackets + b"]" * brackets + b"}"
        assert read_from(0, deep) == read_from(200, deep) == subject


def test_numbers_that_would_poison_a_sum_do_not() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    outcome = feed(
        call("2026-03-05T09:00:00Z", transfers=1e308, wait_s=1.7e308),
        call("2026-03-05T09:00:01Z", transfers=1e308),
        touchpoint("click", "2026-03-05T09:00:02Z", x=1.7e308, y=-1.7e308),
        touchpoint("delivery", "2026-03-05T09:00:03Z", late_days=1e300),
        engine=engine,
    )
    assert outcome.accepted == 4
    ((_, card),) = engine.cards()
    data = json.loads(card)["data"]
    # What counts of them: 5 transfers, 10 minutes and 5 days.
    assert data["effort"] == pytest.approx(100 * (1 - 2 ** (-(22 + 15 + 5) / 10)))
    assert data["satisfaction"] == pytest.approx(100 / (1 + math.exp(8.5 / 4) * 0.3 / 0.7))
    assert all(value == value for value in data["features"].values())  # noqa: PLR0124 - not NaN
    assert evidence(risk(outcome)[-1])["effort"].endswith(", 10 transfers")


def test_topics_are_given_up_with_their_customers() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    for day in range(40):
        batch = [
            touchpoint("contact", "2026-03-05T09:00:00Z", f"c{day}-{i}", channel="call", topic=f"t{day}-{i}")
            for i in range(200)
        ]
        feed(*batch, engine=engine)
    assert len(engine.partition.topics.of) == 8_000
    engine.advance(1_900_000_000_000)
    assert engine.customers == engine.panes == 0
    feed(touchpoint("page_view", "2030-03-18T09:00:00Z"), engine=engine)
    assert len(engine.partition.topics.of) == 0
    assert len(engine.partition.slots) == 1


def test_the_longest_topics_are_told_apart() -> None:
    long = "x" * 255
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(call("2026-03-05T09:00:00Z", long + "1"), call("2026-03-05T09:00:01Z", long + "2"), engine=engine)
    texts = engine.partition.topics.texts
    assert len(set(texts)) == 2
    assert max(map(len, texts)) == 256


def rows_of(engine: Engine) -> dict[bytes, bytes]:
    return {key: value for key, value in engine.snapshot() if value is not None}


def test_snapshots_that_cannot_be_trusted_are_refused() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    feed(call("2026-03-05T09:00:00Z"), touchpoint("page_view", "2026-03-05T09:00:00Z", "bob"), engine=engine)
    rows = rows_of(engine)
    marker = json.loads(rows[MARKER_KEY])

    def refused(match: str, changed: dict[bytes, bytes | None], params: ScoringParams | None = None) -> None:
        broken = {k: v for k, v in (rows | changed).items() if v is not None}
        with pytest.raises(SnapshotError, match=match):
            Engine.restore(params or DEFAULT_1, ACTIONS, broken)

    refused("no marker", {MARKER_KEY: None})
    refused("cannot be read", {MARKER_KEY: b"{"})
    refused("layout 99", {MARKER_KEY: json.dumps(marker | {"layout": 99}).encode()})
    refused("marker is damaged", {MARKER_KEY: json.dumps(marker | {"offset": 1}).encode()})
    refused("1 of 2 rows", {b"cbob": None})
    payload = payloads(rows)[b"canna"]
    for cut in range(1, len(payload)):
        refused("incomplete", sealed({b"canna": payload[:cut]}))
    for cut in range(len(rows[b"canna"])):
        refused("damaged", {b"canna": rows[b"canna"][:cut]})
    refused("of partition 3", altered(rows, partition=3))
    refused("saved with another state", altered(rows, generation=7))
    refused("saved with another state", sealed({b"canna": payload}, generation=7))
    refused("damaged", {b"canna": rows[b"cbob"], b"cbob": rows[b"canna"]})
    assert Engine.restore(DEFAULT_1, ACTIONS, rows).customers == 2


def test_a_router_scores_as_one_engine_a_partition() -> None:
    values = [
        touchpoint(kind, f"2026-03-{day:02}T09:00:00Z", f"customer-{i}", **more)
        for day in range(1, 20)
        for i in range(20)
        for kind, more in (("error", {}), ("contact", {"channel": "call", "topic": "x", "resolved": False}))
    ]
    values[7:7] = [b"{", b'{"subject":"customer-3"}']
    router = Router(DEFAULT_1, ACTIONS, partitions=3)
    outcomes = [router.process(values[i : i + 50]) for i in range(0, len(values), 50)]
    ours = [s.value for o in outcomes for s in o.signals]

    subjects = [json.loads(v)["subject"] if v != b"{" else None for v in values]
    homes = [partition_of([s], 3)[0] if s else 0 for s in subjects]
    theirs = []
    for p in range(3):
        engine = Engine(DEFAULT_1, ACTIONS, partition=p)
        mine = [v for v, home in zip(values, homes, strict=True) if home == p]
        theirs += [s.value for s in engine.process(Records(mine, range(len(mine)))).signals]
        assert engine.next_offset == router.engines[p].next_offset == len(mine) > 0
    assert len(ours) > 50
    assert sorted(ours) == sorted(theirs)
    assert [c for _, c in router.cards()] == sorted(
        (c for e in router.engines for _, c in e.cards()), key=subject_of
    )


def subject_of(card: bytes) -> str:
    return str(json.loads(card)["subject"])


def test_cards_are_taken_in_turns() -> None:
    engine = Engine(DEFAULT_1, ACTIONS)
    everyone = [touchpoint("page_view", "2026-03-05T09:00:00Z", f"c{i}") for i in range(10)]
    feed(*everyone, engine=engine)
    seen: list[bytes] = []
    for _ in range(4):
        assert engine.take_cards(0) == []
        seen += [key for key, _ in engine.take_cards(3)]
    assert sorted(seen) == sorted(f"c{i}".encode() for i in range(10))
    assert engine.dirty_cards() == 0
    engine.advance(1_900_000_000_000)
    assert sorted(engine.take_cards()) == sorted((f"c{i}".encode(), None) for i in range(10))


@pytest.mark.parametrize("limit", [1, 3, 4, 9])
def test_customers_who_are_always_busy_delay_nobody_for_longer_than_a_round(limit: int) -> None:
    """All cards change between any two calls; the first ones must not be taken each time in place of the others."""
    engine = Engine(DEFAULT_1, ACTIONS)
    names = [f"c{i}".encode() for i in range(10)]
    waited = dict.fromkeys(names, 0)
    longest = -(-len(names) // limit)
    for turn in range(4 * longest):
        feed(
            *(
                touchpoint("page_view", f"2026-03-05T09:{turn:02}:00Z", name.decode(), page=f"{turn}")
                for name in names
            ),
            engine=engine,
        )
        assert engine.dirty_cards() == len(names)
        taken = [key for key, _ in engine.take_cards(limit)]
        assert len(set(taken)) == limit
        waited = {name: 0 if name in taken else turns + 1 for name, turns in waited.items()}
        assert max(waited.values()) < longest, f"turn {turn}: {waited}"
