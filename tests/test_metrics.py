"""Metrics: their definitions, what a batch adds to them, and what Prometheus gets from a running worker."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import urllib.request
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from cxstream.kernels.layout import C_EFFORT, C_P, C_SAT
from cxstream.model.enumerations import CHANNELS, LEVELS
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.scoring import distribution
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import Settings
from cxstream.topology import TOUCHPOINTS
from cxstream.worker.faust.app import create_app
from cxstream.worker.faust.offsets import Offsets
from cxstream.worker.metrics.buckets import Buckets
from cxstream.worker.metrics.definitions import METRICS, MOST_OWN_KINDS, OUTCOMES
from cxstream.worker.metrics.process import Measures, Sources
from cxstream.worker.metrics.tally import FlushTally, Times
from cxstream.worker.telemetry.distribution import DistributionMonitor
from workers import WorkerProcess, customers_of, in_process, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 60.0
UNITS = {"seconds", "bytes", "ratio"}
# Names that belong to kafka_exporter, without a unit in them.
KAFKA = re.compile(r"kafka_(consumergroup|topic)_")


# --- definitions


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_definitions_follow_the_conventions(metric: Any) -> None:
    assert re.fullmatch(r"(cxstream|kafka|faust)_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.name.endswith("_info") == (metric.type == "info")
    assert bool(metric.buckets) == (metric.type in {"histogram", "gaugehistogram"})
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.meaning.endswith(".")
    for unit in UNITS:
        assert metric.name.removesuffix("_total").endswith(f"_{unit}") == (metric.unit == unit)
    assert not {"customer", "subject", "session", "le"} & set(metric.labels)
    assert all(metric.labels.values())


# --- histograms


@given(st.lists(st.floats(0, 2e3), max_size=50), st.floats(0, 2e3))
def test_buckets_count_as_prometheus_does(values: list[float], one: float) -> None:
    bounds = METRICS["cxstream_commit_delay_seconds"].buckets
    ours = Buckets(bounds)
    theirs = prometheus_client.Histogram("x", "x", buckets=bounds, registry=None)
    ours.observe_all(np.array(values))
    ours.observe(one)
    for value in [*values, one]:
        theirs.observe(value)
    expected = {s.labels["le"]: s.value for s in theirs.collect()[0].samples if s.name == "x_bucket"}
    assert dict(ours.cumulated()) == expected
    assert ours.sum == pytest.approx(sum(values) + one)


# --- what a batch adds


def test_sources_are_bounded() -> None:
    sources = Sources(2)
    assert [sources.name(each) for each in ("/a", "/b" * 50, "/c", "/a", None)] == [
        "/a",
        ("/b" * 50)[:64],
        "other",
        "/a",
        "unknown",
    ]


class Record:
    """A Kafka record, as far as the tally reads it."""

    def __init__(self, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self.value = value
        self.headers = headers


def counted(
    records: list[Record], appended: list[int], now_ms: float, *, scored: bool = False, **limits: Any
) -> Measures:
    """What one committed batch adds."""
    engine = Engine(ScoringParams(), {})
    engine.scored = scored
    batch = Records(
        [r.value for r in records],
        range(len(records)),
        headers=[r.headers for r in records],
        **limits,
    )
    decoded = engine.read(batch)
    tally = FlushTally()
    tally.observe(decoded, engine.score(decoded, batch), records, np.array(appended))
    measures = Measures()
    measures.add(tally, now_ms)
    return measures


def within(buckets: Buckets, bound: float) -> float:
    """How many values are within a bound."""
    return dict(buckets.cumulated())[f"{float(bound)}"]


T0 = 1_740_787_200_000  # what touchpoint("c", 0) happens at


def test_history_is_told_from_live_records() -> None:
    records = [Record(touchpoint("c", n)) for n in range(3)]
    # The first was appended at once, the second an hour later to the second, the third even later.
    appended = [T0, T0 + 1000 + 3_600_000, T0 + 2000 + 3_600_001]
    measures = counted(records, appended, T0 + 3_610_000)
    live, history = measures.commit_delay["live"], measures.commit_delay["history"]
    assert live.counts.sum() == 2
    assert history.counts.sum() == 1
    assert history.sum == pytest.approx((3_610_000 - 2000 - 3_600_001) / 1000)
    assert measures.event_delay.sum == pytest.approx(3610 + 3609 + 3608)


@given(
    st.lists(st.tuples(st.integers(-10, 10**10), st.integers(-10, 10**10), st.booleans()), max_size=30),
    st.integers(0, 10**10),
)
def test_delays_are_those_of_each_record(records: list[tuple[int, int, bool]], now: int) -> None:
    tally, measures, slow = FlushTally(), Measures(), Measures()
    appended, happened, accepted = ([each[i] for each in records] for i in range(3))
    for part in (slice(0, 7), slice(7, None)):
        times = np.array(appended[part], np.int64), np.array(happened[part], np.int64)
        tally.times.append(Times(*times, np.array(accepted[part], np.bool_)))
    measures.add(tally, float(now))
    for came, was, counts in records:
        which = "live" if came - was <= 3_600_000 else "history"
        slow.commit_delay[which].observe(max(now - came, 0) / 1000)
        if counts:
            slow.event_delay.observe(max(now - was, 0) / 1000)
    for ours, theirs in (
        *((measures.commit_delay[each], slow.commit_delay[each]) for each in ("live", "history")),
        (measures.event_delay, slow.event_delay),
    ):
        assert ours.counts.tolist() == theirs.counts.tolist()
        assert ours.sum == pytest.approx(theirs.sum)


def test_a_clock_that_is_behind_makes_no_negative_delay() -> None:
    measures = counted([Record(touchpoint("c", 0))], [T0 + 500], T0)
    assert measures.commit_delay["live"].sum == 0.0
    assert measures.commit_delay["live"].counts.sum() == 1


@pytest.mark.parametrize("scored", [False, True], ids=["of-events", "of-columns"])
def test_answers_waits_and_contacts_by_channel(scored: bool) -> None:
    told = [
        *(("survey_nps", {"score": score, "channel": "web"}) for score in (10, 9, 8, 7, 6, 0, 0)),
        *(("survey_csat", {"score": score, "channel": "chat"}) for score in (1, 4, 5)),
        ("survey_ces", {"score": 7, "channel": "app"}),
        ("contact", {"channel": "call", "wait_s": 120, "resolved": True}),
        ("contact", {"channel": "call", "wait_s": 121, "resolved": False}),
        ("contact", {"channel": "call", "abandoned": True}),
        ("contact", {"channel": "chat"}),
        ("contact", {"channel": "chat", "wait_s": 5, "touchpoint": 'with an "escape"'}),  # not in the columns
        ("queue", {"channel": "call", "wait_s": 0}),
        ("queue", {"channel": "call"}),
    ]
    records = [Record(touchpoint("c", n, kind, **data)) for n, (kind, data) in enumerate(told)]
    records.append(records[0])  # a duplicate, which does not count
    measures = counted(records, [T0] * len(records), T0, scored=scored)
    web, call, chat = (CHANNELS.index(name) for name in ("web", "call", "chat"))
    assert measures.nps[web].tolist() == [2, 2, 3]
    assert measures.nps.sum() == 7
    assert measures.csat["chat"].sum == 10
    assert within(measures.csat["chat"], 3) == 1
    assert measures.ces["app"].sum == 7
    assert measures.contacts[call].tolist() == [1, 1, 1, 0]
    assert measures.contacts[chat].tolist() == [0, 0, 0, 2]
    assert measures.contacts.sum() == 5
    assert measures.waits["call"].counts.sum() == 3
    assert within(measures.waits["call"], 120) == 2
    assert measures.waits["chat"].sum == 5


def test_an_absurd_wait_does_not_spoil_the_sum() -> None:
    waits = (1.7e308, 1.7e308, 30.0)
    records = [
        Record(touchpoint("c", n, "queue", channel="call", wait_s=wait)) for n, wait in enumerate(waits)
    ]
    measures = counted(records, [T0] * len(records), T0)
    assert measures.waits["call"].counts.sum() == 3
    assert measures.waits["call"].sum == 2 * 86_400 + 30


def test_ages_count_from_the_beginning_before_the_first_answer_and_round() -> None:
    app = create_app(Settings())
    assert app.ticker
    assert app.exporter
    began = time.time()
    for at in (app.ticker.round_at, app.exporter.offsets.answered_at):
        assert began - SECONDS < at <= began


async def test_offsets_are_asked_for_again_whatever_a_consumer_says_that_is_half_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Consumer:
        asked = 0

        def topic_partitions(self, _: str) -> int:
            self.asked += 1
            if self.asked == 1:
                raise AttributeError("'NoneType' object has no attribute '_metadata_snapshot'")
            return 3

        async def earliest_offsets(self, *tps: Any) -> dict[Any, int]:
            return dict.fromkeys(tps, 0)

        highwaters = earliest_offsets

    consumer = Consumer()
    monkeypatch.setattr("cxstream.worker.faust.offsets._START_SECONDS", 0.01)
    offsets = Offsets([], "cx.touchpoints", lambda: consumer)  # type: ignore[arg-type]
    watching = asyncio.create_task(offsets.watch())
    await until(lambda: offsets.partitions == 3, SECONDS, lambda: str(watching))
    watching.cancel()


def test_a_source_writes_no_control_characters_into_a_label() -> None:
    sources = Sources(50)
    hostile = ["/a\x1b[2J", "/b\u202e", "/c\nfake_metric 1", "/d\x9b2J", "/e\x00", "/f\ud800"]
    assert list(map(sources.name, hostile)) == ["/a·[2J", "/b·", "/c·fake_metric 1", "/d·2J", "/e·", "/f·"]


def test_rejections_have_reason_and_source() -> None:
    nested = b'{"source":"/deep","data":' + b"[" * 2000 + b"]" * 2000 + b"}"
    records = [
        Record(b"{"),
        Record(None),
        Record(nested),
        Record(b'{"source":"/bad","id":1}'),
        Record(touchpoint("c", 1, channel="no such")),
        Record(b"{}", (("ce_specversion", b"1.0"), ("ce_source", b"/binary"))),
        Record(touchpoint("c", 2)),
        Record(touchpoint("c", 3)),
    ]
    limits = [T0 + 10_000] * 7 + [T0 + 2000]
    measures = counted(records, [T0] * 8, T0, limits=limits)
    assert measures.rejected == {
        ("malformed", "unknown"): 3,
        ("invalid", "/bad"): 1,
        ("invalid", "/test"): 1,
        ("invalid", "/binary"): 1,
        ("from_the_future", "/test"): 1,
    }
    assert measures.sources == {"/test": 2}


def test_raises_are_counted_by_their_leading_reason() -> None:
    bad = [("contact", {"channel": "call", "wait_s": 900, "resolved": False})] * 6
    told = [*bad, ("survey_nps", {"score": 0, "channel": "app"})]
    records = [Record(touchpoint("c", n, kind, **data)) for n, (kind, data) in enumerate(told)]
    engine = Engine(ScoringParams(), {})
    values = [record.value for record in records]
    outcome = engine.process(Records(values, range(len(values))))
    leading = Counter(
        json.loads(signal.value)["data"]["reasons"][0]["feature"]
        for signal in outcome.signals
        if signal.change == "raised"
    )
    assert {signal.change for signal in outcome.signals} > {"raised"}
    assert leading
    measures = counted(records, [T0] * len(records), T0)
    assert measures.reasons == leading
    assert measures.reasons.total() == sum(n for (kind, _), n in measures.signals.items() if kind == "raised")


# --- the score distribution


def test_census_sees_what_the_cards_say() -> None:
    engine = Engine(ScoringParams(), {})
    rows = [touchpoint(f"c{n % 50}", n, kind) for n, kind in enumerate(["error", "complaint_opened"] * 200)]
    rows = [row.replace(b'"web"', b'"web","case_id":"1"') for row in rows]
    rows.append(touchpoint("c7", 500, "churned", channel="crm"))
    assert engine.process(Records(rows, range(len(rows)))).accepted == len(rows)
    slices = [
        distribution.count(engine, start, start + 20) for start in range(0, distribution.slots_of(engine), 20)
    ]
    cards = np.array([[c["effort"], c["satisfaction"], c["probability"]] for c in said(engine)])
    for column, name in enumerate(("efforts", "satisfactions", "risks")):
        seen = np.concatenate([getattr(each, name) for each in slices])
        assert sorted(seen) == sorted(cards[:, column])
    levels = sum(each.levels for each in slices)
    assert levels[-1] == 1
    expected = [sum(c["level"] == level for c in said(engine)) for level in LEVELS]
    assert levels.sum() == len(cards) == 50
    assert sum(expected) - levels[:-1].sum() == 1
    assert len({C_EFFORT, C_SAT, C_P}) == 3


def said(engine: Engine) -> list[dict[str, Any]]:
    """Data of all score cards."""
    return [json.loads(card)["data"] for _, card in engine.cards()]


# --- a running worker


def scraped(address: str, accept: str = "text/plain") -> str:
    """What the metrics server says."""
    request = urllib.request.Request(address, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Value of each series."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Of one series."""
    return found[name, frozenset(labels.items())]


def test_kinds_of_the_company_are_counted_by_name_and_bounded() -> None:
    kinds = {"parcel_lost": {"effort": 4}, "gift": {}, "never": {}}
    engine = Engine(ScoringParams.model_validate({"kinds": kinds}), {})
    made = [
        touchpoint("c", i, kind) for i, kind in enumerate(["gift", "parcel_lost", "error", "parcel_lost"])
    ]
    batch = Records([*made, made[1]], range(5))
    decoded = engine.read(batch)
    tally, measures = FlushTally(), Measures()
    tally.observe(
        decoded, engine.score(decoded, batch), [Record(v) for v in batch.values], np.zeros(5, np.int64)
    )
    measures.add(tally, 0.0)
    assert measures.own_kinds == {"parcel_lost": 2, "gift": 1}
    assert measures.kinds.sum() == measures.kinds[Kind.error] == 1
    many = FlushTally()
    many.own.update({f"kind_{i}": 1 for i in range(MOST_OWN_KINDS)})
    measures.add(many, 0.0)
    assert len(measures.own_kinds) == MOST_OWN_KINDS + 1
    assert measures.own_kinds["other"] == 2
    assert measures.own_kinds["gift"] == 1


@pytest.mark.broker
async def test_prometheus_gets_what_happened(settings: Settings, topics: Callable[[int], None]) -> None:
    topics(2)
    worker = settings.worker.model_copy(
        update={"web_port": 0, "flush_seconds": 0.05, "snapshot_seconds": 0.1, "tick_seconds": 0.2}
    )
    app = create_app(settings.model_copy(update={"worker": worker}))
    [secret, other], [stray] = customers_of(0, 2, 2, "secret-name-"), customers_of(1, 2)
    trouble = [lately(touchpoint(secret, n)) for n in range(40)]
    answers = [lately(touchpoint(other, 100, "survey_nps", score=9, channel="app"))]
    answers.append(lately(touchpoint(other, 101, "purchase", action_id="task-7", amount=5, currency="JPY")))
    misrouted = lately(touchpoint(stray, 200))
    await write(settings, TOUCHPOINTS.name, {0: [*trouble, b"{", *answers, answers[0], misrouted]})
    async with in_process(app):
        assert app.exporter
        await until(lambda: committed(app) >= 46, SECONDS, lambda: str(app.partitions.counters))
        await until(lambda: app.ticker and app.ticker.written, SECONDS, lambda: "no tick")
        await app.exporter.distribution.count()
        # Not asked for here: that it goes round by itself is what is tested.
        offsets = app.exporter.offsets
        await until(lambda: offsets.partitions, SECONDS, lambda: "no answer")
        text = await asyncio.to_thread(scraped, app.exporter.address)
        open_text = await asyncio.to_thread(scraped, app.exporter.address, "application/openmetrics-text")
    found = samples(text)
    assert list(parse_openmetrics(open_text))
    assert "secret-name" not in text
    check_shape(found)
    check_values(found, settings.worker.group)


def lately(event: bytes) -> bytes:
    """The event as if it had happened an hour and a quarter ago, a record of history, but not yet forgotten."""
    then = datetime.now(UTC) - timedelta(minutes=75)
    return re.sub(rb'"time":"[^"]*"', b'"time":"%s"' % then.isoformat().encode(), event)


def committed(app: Any) -> int:
    """Records committed, ticks not."""
    return sum(each.events - each.outcomes["tick"] for each in app.partitions.counters.values())


def check_shape(found: Samples) -> None:
    """Everything defined is there, nothing else is, and labels have the values they may have."""
    suffix = re.compile(r"(_bucket|_sum|_count|_gsum|_gcount)$")
    seen: set[str] = set()
    for name, labels in found:
        if not re.match(r"cxstream_|faust_|kafka_", name):
            continue
        metric = METRICS.get(name) or METRICS[suffix.sub("", name)]
        seen.add(metric.name)
        assert {key for key, _ in labels} - {"le"} == set(metric.labels), name
        for key, text in labels:
            allowed = metric.labels.get(key, "")
            assert isinstance(allowed, str) or text in allowed, (name, key, text)
    # Nobody has asked the web server anything, and no partition stands still.
    assert set(METRICS) - seen == {"faust_web_responses_total", "cxstream_partition_no_progress_offset"}


def check_values(found: Samples, group: str) -> None:
    """What was sent is what is told."""
    outcomes = {o: value(found, "cxstream_events_total", partition="0", outcome=o) for o in OUTCOMES}
    assert outcomes.pop("tick") >= 0
    nothing = {"late": 0, "rules": 0, "erased": 0, "erasure": 0}
    assert outcomes == {"accepted": 42, "duplicate": 1, "rejected": 1, "misrouted": 1, **nothing}
    assert value(found, "cxstream_misrouted_total", source="/test") == 1
    assert value(found, "cxstream_unknown_actions_total", source="/test") == 1
    assert value(found, "cxstream_unconverted_amounts_total", currency="JPY") == 1
    assert value(found, "cxstream_rejected_total", reason="malformed", source="unknown") == 1
    assert value(found, "cxstream_source_events_total", source="/test") == 44
    assert value(found, "cxstream_touchpoints_total", kind="error") == 41
    assert value(found, "cxstream_commit_delay_seconds_count", freshness="history") == 44
    assert value(found, "cxstream_commit_delay_seconds_count", freshness="live") == 0
    assert value(found, "cxstream_event_delay_seconds_count") == 43
    newest = value(found, "cxstream_newest_event_timestamp_seconds", partition="0")
    assert 75 * 60 <= time.time() - newest <= 75 * 60 + SECONDS
    where = {"topic": TOUCHPOINTS.name, "partition": "0"}
    end = value(found, "kafka_topic_partition_current_offset", **where)
    offset = value(found, "kafka_consumergroup_current_offset", consumergroup=group, **where)
    assert value(found, "kafka_consumergroup_lag", consumergroup=group, **where) == end - offset
    assert offset >= 43
    assert value(found, "kafka_topic_partition_oldest_offset", **where) == 0
    assert value(found, "kafka_topic_partitions", topic=TOUCHPOINTS.name) == 2
    assert value(found, "cxstream_signals_total", kind="friction", level="none") >= 1
    assert value(found, "cxstream_nps_answers_total", channel="app", **{"class": "promoter"}) == 1
    assert value(found, "cxstream_customer_effort_gcount") == 3
    assert sum(value(found, "cxstream_customers", level=level) for level in LEVELS) == 3
    assert value(found, "cxstream_state_rows", partition="0") == 2
    assert value(found, "cxstream_partition_state", partition="1", state="running") == 1
    assert value(found, "cxstream_ready") == 1
    assert value(found, "cxstream_recovery_seconds_count") == 2
    assert value(found, "cxstream_snapshots_total", partition="0") >= 1
    assert value(found, "cxstream_transactions_total", partition="0", outcome="aborted") == 0
    assert value(found, "faust_rebalances_total") >= 1
    assert value(found, "faust_rebalance_seconds_count") >= 1
    assert value(found, "cxstream_ticks_written_total") >= 1


@pytest.mark.broker
async def test_a_taken_port_is_named(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with WorkerProcess(settings, tmp_path / "log", "--metrics-port", str(port)) as worker:
            assert await asyncio.to_thread(worker.process.wait, SECONDS) == 1
            assert re.search(rf"127\.0\.0\.1:{port} .*--metrics-port", worker.log), worker.log
            assert "Traceback" not in worker.log


def test_metrics_can_be_left_out() -> None:
    assert create_app(Settings(worker={"metrics": False})).exporter is None


async def test_score_distribution_goes_on_while_customers_come() -> None:
    """A look is in slices; between them the state may grow."""
    engine = Engine(ScoringParams(), {})
    engine.process(Records([touchpoint(f"c{n}", n) for n in range(5000)], range(5000)))

    class Owned:
        number = 0

    owned: Any = Owned()
    owned.engine = engine
    monitor = DistributionMonitor([owned])  # type: ignore[arg-type]  # all it does is iterate
    looking = asyncio.create_task(monitor.count())
    await asyncio.sleep(0)
    engine.process(Records([touchpoint(f"d{n}", n) for n in range(5000)], range(5000, 10_000)))
    await looking
    assert 5000 <= monitor.scores.levels.sum() <= 10_000
    assert monitor.scores.effort.counts.sum() == monitor.scores.levels.sum()
