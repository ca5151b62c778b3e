"""One customer: what Kafka has of him, what moved his card, and what his worker holds."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from click.testing import CliRunner, Result

from answers import answering
from cxstream.cli import group
from cxstream.customer import owner
from cxstream.customer.actions import actions, change_in_words
from cxstream.customer.history import context_ms, refused, touches
from cxstream.customer.identity import identify
from cxstream.erasure.requests import request
from cxstream.kafka.connection import connection
from cxstream.kafka.producer import route
from cxstream.kafka.reader import reading
from cxstream.model.errors import BrokerError, InputError
from cxstream.model.features import FEATURES
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring import words
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.explain import account, logistic, matters, reasons_in_words, typical_log_odds
from cxstream.scoring.view import contributions, describe
from cxstream.settings import Settings
from cxstream.topology import REJECTED, SCORES, TOUCHPOINTS
from cxstream.worker_client.http import get
from default_1 import DEFAULT_1
from oracle import Oracle
from strategies import PARAMS, random_history
from workers import Watcher, WorkerProcess, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 90.0
STORY = [
    touchpoint("anna", 1),
    touchpoint("anna", 2, "contact", channel="call", topic="invoice", wait_s=400),
    touchpoint("anna", 3, "contact", channel="call", topic="invoice", resolved=False),
    touchpoint("anna", 3),
    touchpoint("anna", 4, "survey_nps", score=2),
    touchpoint("anna", 5, "survey_ces", score=1),
    touchpoint("anna", 6, "complaint_opened", case_id="c"),
    touchpoint("anna", 90_000, "unsubscribed"),
]


def engine_with(values: list[bytes]) -> Engine:
    engine = Engine(DEFAULT_1, {})
    engine.process(Records(values, range(len(values))))
    return engine


def test_view_is_what_the_oracle_has() -> None:
    engine, oracle = engine_with(STORY), Oracle(DEFAULT_1)
    for offset, value in enumerate(STORY):
        oracle.feed(json.loads(value), offset)
    view = describe(engine, "anna")
    assert view is not None
    panes = oracle.customers["anna"].panes
    assert [(day.effort, day.mood, day.touches) for day in view.days] == [
        pytest.approx((pane.effort, pane.mood, pane.touches))
        for _, pane in sorted(panes.items(), reverse=True)
    ]
    assert [day.day for day in view.days] == ["2025-03-02", "2025-03-01"]
    assert view.offset == len(STORY)
    assert view.complaints == ["2025-03-01T00:00:06.000Z"]
    assert [(each.topic, each.time[11:19]) for each in view.contacts] == [
        ("invoice", "00:00:03"),
        ("invoice", "00:00:02"),
    ]
    assert (view.nps, view.unsubscribed, view.churned) == (2, "2025-03-02", False)
    assert dict(engine.cards())["anna"] == bytes(view.card)
    assert describe(engine, "berta") is None


def test_looking_changes_nothing() -> None:
    looked_at, other = engine_with(STORY), engine_with(STORY)
    dirty = looked_at.dirty_cards()
    describe(looked_at, "anna")
    assert looked_at.dirty_cards() == dirty
    assert looked_at.snapshot() == other.snapshot()


def test_contributions_are_those_of_the_signals() -> None:
    engine = Engine(DEFAULT_1, {})
    outcome = engine.process(Records(STORY, range(len(STORY))))
    signal = json.loads(outcome.signals[-1].value)["data"]
    found = contributions(DEFAULT_1, {reason["feature"]: reason["value"] for reason in signal["reasons"]})
    assert found == [(each["feature"], each["value"], each["contribution"]) for each in signal["reasons"]]
    assert len(contributions(DEFAULT_1, dict.fromkeys(FEATURES, 0.0))) == len(FEATURES)


def test_all_contributions_and_a_typical_customer_add_up_to_the_probability() -> None:
    params = PARAMS["touchy"]
    engine = Engine(params, {})
    log = [json.dumps(event).encode() for event, _ in random_history(5, 3_000)]
    outcome = engine.process(Records(log, range(len(log))))
    base, changes = typical_log_odds(params), 0
    for signal in outcome.signals:
        data = json.loads(signal.value)["data"]
        if "probability" in data:
            changes += 1
            told = sum(reason["contribution"] for reason in data["reasons"])
            assert logistic(base + told) == pytest.approx(data["probability"], rel=1e-9)
    assert changes > 100
    cards = [json.loads(card)["data"] for _, card in engine.cards()]
    assert cards
    for card in cards:
        found = account(params, card)
        assert found.agrees
        assert found.probability == pytest.approx(card["probability"], rel=1e-9)
        assert found.steps[-1].probability == found.probability
        assert found.log_odds == pytest.approx(base + sum(step.contribution for step in found.steps))
        assert {step.feature for step in found.steps} == set(FEATURES)
    # Under other parameters they do not add up, and that is said.
    assert not account(params.model_copy(update={"intercept": -2.0}), cards[0]).agrees


def test_the_reasons_of_a_signal_lead_from_a_typical_customer_to_its_probability() -> None:
    reasons = [("2 contacts", 1.2833), ("NPS answer 4", 1.0), ("satisfaction 40 of 100", 0.7567)]
    assert reasons_in_words(0.76673, reasons) == (
        "from 14% for a typical customer; 2 contacts (up to 36%); NPS answer 4 (up to 61%); "
        "satisfaction 40 of 100 (up to 77%)"
    )
    assert logistic(typical_log_odds(DEFAULT_1)) == pytest.approx(0.13587, rel=1e-4)
    for certain in (0.0, 1.0):
        assert "from " in reasons_in_words(certain, reasons)
    assert (logistic(-1e4), logistic(1e4)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("raised", "raised from high to critical, 77%"),
        ("worsened", "worsened at critical, 77%"),
        ("erased", "erased on request"),
    ],
)
def test_a_change_in_words(change: str, told: str) -> None:
    data = {"change": change, "level": "critical", "previous": "high"}
    assert change_in_words(data if change == "erased" else {**data, "probability": 0.767}) == told


def test_every_feature_has_words() -> None:
    card = json.loads(dict(engine_with(STORY).cards())["anna"])["data"]
    said = {
        step.feature: words.value(step.feature, step.value, card, DEFAULT_1)
        for step in account(DEFAULT_1, card).steps
    }
    assert set(said) == set(FEATURES)
    assert said["detractor"] == "the latest NPS answer is 6 or less"
    assert said["complaint"] == "1 open complaint, at most 3 count"
    assert said["unsubscribed"] == "unsubscribed"


def test_the_guide_shows_what_leads_to_the_number_of_the_story() -> None:
    engine = Engine(ScoringParams(), {})
    engine.process(Records((ROOT / "examples" / "story.ndjson").read_bytes().splitlines()[:5], range(5)))
    card = json.loads(dict(engine.cards())["anna"])["data"]
    found = account(ScoringParams(), card)
    guide = re.sub(" +", " ", (ROOT / "docs" / "oncall.md").read_text(encoding="utf-8"))
    rows = [("a typical customer", found.typical_log_odds, f"{found.typical:.0%}")]
    rows += [
        (
            words.value(step.feature, step.value, card, ScoringParams()),
            step.contribution,
            f"{step.probability:.0%}",
        )
        for step in found.steps
        if matters(step)
    ]
    rows.append(("all together", found.log_odds, f"{found.probability:.1%}"))
    assert len(rows) == 6
    for said, log_odds, risk in rows:
        assert f"| {said} | {log_odds:+.3f} | {risk} |" in guide


class Written:
    """As much of a consumer's record as is read."""

    def __init__(self, offset: int, value: bytes | None, key: bytes = b"anna") -> None:
        self.offset, self.value, self.key = offset, value, key
        self.timestamp, self.headers = 1_800_000_000_000, ()


def test_points_of_each_record_are_what_its_pane_gained() -> None:
    records = [Written(offset, value) for offset, value in enumerate(STORY)]
    found = touches(Settings(), "anna", records)
    assert [touch.outcome for touch in found] == ["counted"] * 3 + ["duplicate"] + ["counted"] * 4
    assert [(touch.effort, touch.mood) for touch in found[:5]] == [
        (2.0, -1.0),
        (pytest.approx(2 + (400 / 60 - 1) + 2), -0.5),
        (2.0 + 3 + 3 + 2, -1.5 - 1 - 0.5),
        (0.0, 0.0),
        (0.0, 0.0),
    ]
    view = describe(engine_with(STORY), "anna")
    assert view is not None
    assert sum(touch.effort for touch in found) == pytest.approx(sum(day.effort for day in view.days))
    assert sum(touch.mood for touch in found) == pytest.approx(sum(day.mood for day in view.days))


def test_points_of_records_a_window_apart_and_of_bad_ones() -> None:
    late = touchpoint("anna", 7).replace(b"2025-03-01", b"2026-03-01")
    records = [
        Written(0, STORY[0]),
        Written(1, late),
        Written(2, None),
        Written(3, b"x"),
        Written(4, STORY[1]),
    ]
    found = touches(Settings(), "anna", records)
    assert [(touch.outcome, touch.effort) for touch in found] == [
        ("counted", 2.0),
        ("counted", 2.0),
        ("malformed", 0.0),
        ("malformed", 0.0),
        ("too_late", 0.0),
    ]


def test_what_the_worker_rejected_gives_no_points_whatever_the_customers_own_time_says() -> None:
    records = [Written(offset, value) for offset, value in enumerate(STORY[:3])]
    found = touches(Settings(), "anna", records, {1: "too_late"})
    assert [(touch.outcome, touch.effort) for touch in found] == [
        ("counted", 2.0),
        ("too_late", 0.0),
        ("counted", pytest.approx(2 + 3 + 2)),  # a call that failed, after the web: no repeated one
    ]


def test_rejections_are_found_by_what_explains_them() -> None:
    class Rejected:
        def __init__(self, reason: Any, topic: bytes, offset: bytes) -> None:
            said = {"reason": reason, "field": b"time", "topic": topic, "partition": b"0", "offset": offset}
            self.headers = (("offset", b"99"), *said.items())

    records = [
        Rejected(b"too_late", b"cx.touchpoints", b"3"),
        Rejected(b"resent", b"cx.touchpoints", b"4"),
        Rejected(b"invalid", b"cx.forget", b"5"),
        Rejected(b"invalid", b"cx.touchpoints", b"x"),
        Rejected(None, b"cx.touchpoints", b"6"),
    ]
    assert refused(records, TOUCHPOINTS.name) == {3: "too_late"}


def test_what_is_dropped_for_an_erasure_does_not_count() -> None:
    _, erase = request("anna")
    records = [Written(n, value) for n, value in enumerate([STORY[0], erase, STORY[1]])]
    found = touches(Settings(), "anna", records)
    assert [(touch.outcome, touch.effort) for touch in found] == [
        ("counted", 2.0),
        ("erases", 0.0),
        ("erased", 0.0),
    ]


async def ask(address: str) -> owner.Answer:
    who = identify(Settings(), "anna", 1)
    return await owner.ask(Settings(kafka="localhost:1"), who, address)


async def test_a_worker_elsewhere_says_that_it_answers_there_alone() -> None:
    with answering(403, b'{"error": "only this computer may ask"}') as (address, asked):
        answer = await ask(address)
    assert answer.held is None
    assert (
        "does not tell us of customers: as the worker's user run this there, with --worker http://127.0.0.1:PORT"
        in answer.said
    )
    assert asked == ["/customers/anna"]


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"{}"), (200, b"[]"), (500, b"oh"), (0, b"SSH-2.0-x\r\n\r\n")],
)
async def test_whatever_answers_there_are_words_for_it(
    status: int, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(status, body) as (address, asked):
        answer = await ask(address)
    assert asked, "a proxy was asked"
    assert answer.held is None
    assert "who owns partition 0 is not known: group cxstream: no Kafka at localhost:1" in answer.said


async def test_an_address_that_is_none_is_said_in_words() -> None:
    assert "no worker answers at http://127.0.0.1:PORT" in (await ask("http://127.0.0.1:PORT")).said


async def test_a_kafka_that_refuses_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def refusing(_: Settings) -> AsyncIterator[Any]:
        raise GroupAuthorizationFailedError("cxstream")
        yield

    monkeypatch.setattr("cxstream.customer.owner.administration", refusing)
    assert "is not known: group cxstream: " in (await ask("http://127.0.0.1:1")).said
    monkeypatch.setattr("cxstream.kafka.reader.administration", refusing)
    with pytest.raises(BrokerError, match="GroupAuthorizationFailedError"):
        async with reading(Settings(), [TOUCHPOINTS]):
            pass


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="1 to 128 characters"):
        identify(Settings(), "x" * 129, 4)
    assert identify(Settings(), "anna", 4).partition == route([b"anna"], 4)[0]


def run(settings: Settings, *arguments: str) -> Result:
    """The command, in a loop of its own."""
    return CliRunner().invoke(
        group, ["customer", *arguments, "--kafka", settings.kafka],
        env={"CXSTREAM_WORKER__GROUP": settings.worker.group},
    )  # fmt: skip


@pytest.mark.broker
async def test_customer_as_kafka_and_his_worker_have_him(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(2)
    name = "anna/ł ?#"
    home = route([name.encode()], 2)[0]
    values = [value.replace(b'"anna"', json.dumps(name).encode()) for value in STORY]
    others = [touchpoint(f"c{n}", n) for n in range(50)]
    own = [value for value in others if route([json.loads(value)["subject"].encode()], 2)[0] == home]
    await write(settings, TOUCHPOINTS.name, {home: [*values, *own]})
    with WorkerProcess(settings, tmp_path / "log") as worker:
        address = (await asyncio.to_thread(worker.ready)).rpartition(" ")[2]
        async with Watcher(settings, 2) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)

            async def carded() -> bool:
                return any(
                    record.key == name.encode()
                    for records in (await watcher.read("cx.scores")).values()
                    for record in records
                )

            await until(carded, SECONDS, lambda: worker.log)
        result = await asyncio.to_thread(run, settings, name, "--worker", address, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert (found["customer"], found["partition"]) == (name, home)
        assert found["worker"]["customer"]["card"]["data"] == found["card"]["data"]
        assert found["worker"]["partition"] == home
        assert len(found["touchpoints"]) == len(STORY)
        assert [each["time"] for each in found["signals"]] == sorted(
            each["time"] for each in found["signals"]
        )
        assert {each["type"] for each in found["signals"]} == {
            "cx.signal.churn_risk.v1",
            "cx.signal.friction.v1",
        }
        assert found["moved"][0]["contribution"] >= found["moved"][-1]["contribution"]
        few = json.loads(
            (await asyncio.to_thread(run, settings, name, "--no-worker", "--json", "--limit", "2")).stdout
        )
        assert [touch["offset"] for touch in few["touchpoints"]] == [
            touch["offset"] for touch in found["touchpoints"][-2:]
        ]
        assert (few["earlier"], few["worker"]) == (len(STORY) - 2, None)

        shown = await asyncio.to_thread(run, settings, name, "--worker", address)
        assert shown.exit_code == 0, shown.output
        assert found["account"]["agrees"]
        leads = f"What leads to {found['card']['data']['probability']:.0%}"
        for text in (
            leads,
            "a typical customer",
            "Touchpoints that arrived",
            "Days in memory",
            "open complaints since",
        ):
            assert text in shown.output
        nobody = await asyncio.to_thread(run, settings, "berta", "--worker", address)
        assert nobody.exit_code == 1
        assert "does not know the customer" in nobody.output
        assert "nobody knows 'berta'" in nobody.output

        # A worker that owns nothing says so, and the group is asked who does.
        with WorkerProcess(settings, tmp_path / "other") as first:
            address_2 = (await asyncio.to_thread(first.ready)).rpartition(" ")[2]

            async def shared() -> bool:
                said = [await asyncio.to_thread(get, f"{each}/readyz") for each in (address, address_2)]
                states = [state for _, body in said for state in body["partitions"].items()]
                return sorted(states) == [("0", "running"), ("1", "running")]

            # The first has given up both, and may take its own up again a moment after the other is ready.
            await until(shared, SECONDS, lambda: worker.log + first.log)
            answers = [
                json.loads((await asyncio.to_thread(run, settings, name, "--worker", each, "--json")).stdout)
                for each in (address, address_2)
            ]
            owned = [each for each in answers if each["worker"] is not None]
            said = [each["worker_says"] for each in answers if each["worker"] is None]
            assert len(owned) == 1
            assert f"does not own partition {home}; partition {home} is owned by " in said[0]
            assert await asyncio.to_thread(first.stop) == 0
        assert await asyncio.to_thread(worker.stop) == 0
        assert name not in worker.log
        assert "/customers/" not in worker.log


@pytest.mark.broker
async def test_where_no_worker_answers_the_group_is_asked(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(1)
    await write(settings, TOUCHPOINTS.name, {0: STORY})
    result = await asyncio.to_thread(run, settings, "anna", "--worker", "http://127.0.0.1:1", "--days", "1")
    assert result.exit_code == 0, result.output
    assert "no worker answers at http://127.0.0.1:1" in " ".join(result.output.split())
    assert "is owned by nobody" in " ".join(result.output.split())


@pytest.mark.broker
async def test_touchpoints_in_other_partitions_are_shown_with_what_became_of_them(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(3)
    name = 'anna"ł'
    [home] = route([name.encode()], 3)
    there, elsewhere = (p for p in range(3) if p != home)

    async def looked(*options: str) -> dict[str, Any]:
        result = await asyncio.to_thread(run, settings, name, "--no-worker", "--json", *options)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    strays = [
        touchpoint(name, 1),
        touchpoint(name, 2, "survey_nps", score=99),
        touchpoint("other", 3, topic=name),
    ]
    await write(settings, TOUCHPOINTS.name, {there: strays})
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        value = json.dumps(json.loads(touchpoint(name, 4))).encode()
        await producer.send_and_wait(TOUCHPOINTS.name, value, key=None, partition=elsewhere)
    before = (await looked())["strays"]
    assert [(each["partition"], each["outcome"]) for each in before] == [
        (there, "not forwarded"),
        (there, "not forwarded"),
        (elsewhere, "not forwarded"),
    ]
    with WorkerProcess(settings, tmp_path / "log", CXSTREAM_WORKER__FLUSH_SECONDS="0.1") as worker:
        worker.ready()
        async with Watcher(settings, 3) as watcher:

            async def settled() -> bool:
                rejected = (await watcher.read(REJECTED.name)).values()
                cards = (await watcher.read(SCORES.name)).get(home, [])
                return sum(map(len, rejected)) == 2 and any(each.key == name.encode() for each in cards)

            await until(settled, SECONDS, lambda: worker.log)
        # A request to be erased lies in every partition, and belongs there.
        forgotten = await asyncio.to_thread(
            CliRunner().invoke, group, ["forget", "--kafka", settings.kafka, name]
        )
        assert forgotten.exit_code == 0, forgotten.output
        assert worker.stop() == 0, worker.log
    after = await looked()
    assert [(each["partition"], each["offset"], each["outcome"]) for each in after["strays"]] == [
        (there, 0, "forwarded"),
        (there, 1, "invalid"),
        (elsewhere, 0, "invalid"),
    ]
    [copy] = [each for each in after["touchpoints"] if each["id"] == "e1"]
    assert after["strays"][0]["forwarded_to"] == copy["offset"]
    assert after["strays"][0]["source"] == "/test"
    assert (await looked("--own-partition"))["strays"] == []
    shown = await asyncio.to_thread(run, settings, name, "--no-worker")
    assert "Touchpoints in other partitions" in shown.output
    assert f"forwarded to offset {copy['offset']}" in shown.output
    assert f"they belong to partition {home}" in shown.output


def test_context_reaches_back_far_enough() -> None:
    assert context_ms(Settings()) == 7 * DAY_MS


def test_a_customer_for_whom_nothing_was_done_has_no_actions() -> None:
    assert actions([], [], [], TOUCHPOINTS.name) == []
