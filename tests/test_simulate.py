"""The simulation: reproducible, at the stated rates, true to its ground truth, and understood by the scores."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import sys
import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import zstandard
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner

from cxstream.cli import group
from cxstream.kafka.admin import require_topics
from cxstream.kafka.connection import connection
from cxstream.model.kinds import Kind
from cxstream.model.outputs import CHURN_RISK_TYPE
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import rules_of
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.router import Router
from cxstream.settings import ACTIONS
from cxstream.simulate import files, truth
from cxstream.simulate.crm import Act, Acting
from cxstream.simulate.faults import (
    DUPLICATE,
    FAULTS,
    FROM_THE_FUTURE,
    INVALID,
    LATE,
    MALFORMED,
    NONE,
    OUT_OF_ORDER,
    Rates,
)
from cxstream.simulate.stream import Block, Plan, Simulation
from cxstream.simulate.topic import Pace, start_to_end_now
from cxstream.topology import TOUCHPOINTS
from default_1 import default_1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

START = 1_767_225_600_000  # 2026-01-01
DAY = 86_400_000
HIGH = Rates(late=0.05, out_of_order=0.05, duplicates=0.05, broken=0.05)


def taken(plan: Plan) -> tuple[Simulation, list[Block]]:
    simulation = Simulation(plan)
    blocks = list(simulation.blocks())
    for block in blocks:
        simulation.tally.add(block.rows)
    return simulation, blocks


def joined(blocks: list[Block]) -> tuple[np.ndarray, list[bytes]]:
    return np.concatenate([b.rows for b in blocks]), [v for b in blocks for v in b.values]


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(group, ["simulate", *map(str, arguments)])


def written(path: Path, *arguments: str) -> bytes:
    result = run("--customers", "200", "--events", "3000", "--out", path, "--quiet", *arguments)
    assert result.exit_code == 0, result.output
    return path.read_bytes()


class TestReproducible:
    @pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
    def test_the_same_seed_gives_the_same_bytes(self, tmp_path: Path, suffix: str) -> None:
        first = written(tmp_path / f"a.ndjson{suffix}", "--seed", "7")
        assert written(tmp_path / f"b.ndjson{suffix}", "--seed", "7") == first
        assert written(tmp_path / f"c.ndjson{suffix}", "--seed", "8") != first

    def test_compressed_files_hold_the_same_records(self, tmp_path: Path) -> None:
        plain = written(tmp_path / "a.ndjson")
        assert plain.count(b"\n") == 3000
        assert gzip.decompress(written(tmp_path / "a.ndjson.gz")) == plain
        packed = zstandard.ZstdDecompressor().decompressobj().decompress(written(tmp_path / "a.ndjson.zst"))
        assert packed == plain

    def test_faults_do_not_change_lives(self) -> None:
        def customers(rates: Rates) -> list[dict[str, Any]]:
            simulation, _ = taken(Plan(300, START, seed=3, days=20, rates=rates))
            simulation.tally.until = START + 20 * DAY
            return list(truth.lines(simulation))[1:]

        assert customers(HIGH) == customers(Rates(0, 0, 0, 0))

    def test_a_stream_cut_short_is_the_beginning_of_the_long_one(self) -> None:
        long = joined(taken(Plan(300, START, events=5_000))[1])[1]
        assert joined(taken(Plan(300, START, events=1_234))[1])[1] == long[:1_234]


class TestRecords:
    # A simulated company has no past: nobody bought anything before the first day.
    def test_every_kind_occurs_and_every_record_is_what_it_is_said_to_be(self) -> None:
        _, blocks = taken(Plan(2_000, START, days=50, rates=Rates(broken=0.02), trouble=2))
        rows, values = joined(blocks)
        assert {Kind(code) for code in np.unique(rows["kind"])} == set(Kind) - {Kind.purchase_history}
        expected = {MALFORMED: "malformed", INVALID: "invalid"}
        verdicts = {each.index: each for each in decode(values).rejected}
        found = {index: each.reason for index, each in verdicts.items()}
        assert found == {
            i: expected[fault] for i, fault in enumerate(rows["fault"].tolist()) if fault in expected
        }
        for index, kind in enumerate(rows["kind"][:5_000].tolist()):
            assert index in verdicts or f'"cx.touchpoint.{Kind(kind).label}.v1"'.encode() in values[index]
        # A campaign message says what it cost, for the return on it.
        sent = [
            values[n]
            for n in np.flatnonzero(rows["kind"] == Kind.campaign_sent).tolist()
            if n not in verdicts
        ]
        assert sent
        assert all(b'"amount":0.12,"currency":"EUR"' in value for value in sent)
        ways = {(each.reason, each.field) for each in verdicts.values()}
        assert {field for reason, field in ways if reason == "invalid"} >= {
            "subject",
            "time",
            "type",
            "data.channel",
        }
        assert 200 <= sum(map(len, values)) / len(values) <= 300

    def test_they_arrive_in_order_and_never_before_they_happen(self) -> None:
        rows, _ = joined(taken(Plan(500, START, days=12, rates=HIGH))[1])
        assert (np.diff(rows["arrival"]) >= 0).all()
        known = rows["fault"] != FROM_THE_FUTURE
        assert (rows["t"] <= rows["arrival"])[known].all()
        assert (rows["t"] > rows["arrival"])[~known].all()
        assert (rows["t"] == rows["arrival"])[rows["fault"] == NONE].all()
        late = rows[(rows["fault"] == LATE) & (rows["arrival"] < START + 12 * DAY)]
        assert (late["arrival"] - late["t"]).min() >= 3_600_000

    def test_a_beginning_within_a_day_is_kept(self) -> None:
        start = START + 13 * 3_600_000
        rows, _ = joined(taken(Plan(500, start, days=1.5, rates=Rates(0, 0, 0, 0)))[1])
        assert rows["t"].min() >= start
        assert start + 1.4 * DAY < rows["t"].max() < start + 1.5 * DAY

    def test_rates_are_the_stated_ones(self) -> None:
        rates = Rates(late=0.03, out_of_order=0.02, duplicates=0.01, broken=0.02)
        rows, _ = joined(taken(Plan(3_000, START, days=20, rates=rates))[1])
        count = len(rows)
        share = np.bincount(rows["fault"], minlength=len(FAULTS)) / count
        for fault, stated in ((LATE, 0.03), (OUT_OF_ORDER, 0.02), (DUPLICATE, 0.01)):
            assert abs(share[fault] - stated) < 5 * np.sqrt(stated / count)
        broken = share[DUPLICATE + 1 :]
        assert abs(broken.sum() - 0.02) < 5 * np.sqrt(0.02 / count)
        assert (broken > 0.004).all()

    def test_without_faults_there_are_none(self) -> None:
        rows, _ = joined(taken(Plan(300, START, days=5, rates=Rates(0, 0, 0, 0)))[1])
        assert not rows["fault"].any()


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_engine_finds_exactly_the_faults_that_were_put_in(partitions: int) -> None:
    simulation, blocks = taken(Plan(400, START, days=30, rates=HIGH))
    rows, values = joined(blocks)
    found: Counter[str] = Counter()
    for partition in range(partitions):
        mine = np.flatnonzero(rows["cust"] % partitions == partition)
        engine = Engine(ScoringParams(), {}, partition=partition)
        limits = (rows["arrival"][mine] + 300_000).tolist()
        outcome = engine.process(Records([values[i] for i in mine], list(range(len(mine))), limits))
        found["accepted"] += outcome.accepted
        found["duplicate"] += outcome.duplicates
        for rejection in outcome.rejected:
            assert FAULTS[rows["fault"][mine[rejection.index]]] == rejection.reason
            found[rejection.reason] += 1
    tally = simulation.tally
    put_in = {name: n for name, n in tally.faults.items() if name not in ("late", "out_of_order")}
    assert min(put_in.values()) > 50
    assert found == {"accepted": tally.accepted, **put_in}
    assert tally.records == len(rows) == tally.accepted + sum(put_in.values())


class Event(msgspec.Struct, gc=False):
    subject: str
    type: str
    time: str
    data: Said

    @property
    def kind(self) -> str:
        return self.type.split(".")[2]


class Said(msgspec.Struct, gc=False):
    resolved: bool | None = None
    abandoned: bool = False


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[Event]]:
    """The truth of a run, and its events, read back from the files."""
    folder = tmp_path_factory.mktemp("told")
    simulation = Simulation(Plan(2_500, START, seed=5, days=50, rates=Rates(0, 0, 0, 0)))
    files.write(simulation, folder / "events.ndjson", lambda _: None)
    truth.write(folder / "truth.ndjson", simulation)
    event = msgspec.json.Decoder(Event)
    lines = [json.loads(line) for line in (folder / "truth.ndjson").read_bytes().splitlines()]
    return lines, event.decode_lines((folder / "events.ndjson").read_bytes())


class TestTruth:
    def test_it_counts_what_was_written(self, told: Any) -> None:
        lines, events = told
        kinds = Counter(event.kind for event in events)
        assert lines[0]["kinds"] == kinds
        assert lines[0]["records"] == lines[0]["accepted"] == len(events)
        assert len(lines) == 1 + 2_500
        assert len(lines[1]["pain"]) == len(lines[0]["pain_at"]) == 7

    def test_who_has_left_does_nothing_until_he_is_won_back(self, told: Any) -> None:
        lines, events = told
        gone = {line["subject"]: d for line in lines[1:] for d in line["departures"][:1]}
        silent = {kind.type for kind in Kind if kind not in (Kind.churned, Kind.won_back)}
        assert len(gone) > 50
        seen = 0
        for event in events:
            departure = gone.get(event.subject)
            if departure and event.type in silent and event.time >= departure["left_at"]:
                assert departure["won_back_at"] is not None
                assert event.time[:10] >= departure["won_back_at"][:10]
                seen += 1
        assert seen

    def test_leaving_comes_days_after_the_decision_and_pain_before_it(self, told: Any) -> None:
        lines, _ = told
        tolerance = {line["subject"]: line["tolerance"] for line in lines[1:]}
        departures = [(line["subject"], d) for line in lines[1:] for d in line["departures"]]
        for _, departure in departures:
            delay = _ms(departure["left_at"]) - _ms(departure["decided_at"])
            assert 4 * DAY <= delay <= 21 * DAY
        pained = [(s, d) for s, d in departures if d["reasons"][0]["cause"] != "other"]
        assert len(pained) > 0.3 * len(departures)
        assert np.median([d["pain"] / tolerance[s] for s, d in pained]) > 0.8

    def test_events_alone_tell_leavers_from_others(self, told: Any) -> None:
        lines, events = told
        decided = {line["subject"]: line["departures"][0] for line in lines[1:] if line["departures"]}
        pained = {s for s, d in decided.items() if d["reasons"][0]["cause"] != "other"}
        usual = float(np.median([_ms(d["decided_at"]) for d in decided.values()]))
        points = ScoringParams().points
        effort = dict.fromkeys((line["subject"] for line in lines[1:]), 0.0)
        for event in events:
            departure = decided.get(event.subject)
            until = _ms(departure["decided_at"]) if departure else usual
            if until - 30 * DAY < _ms(event.time) <= until:
                unsolved = event.data.resolved is False or event.data.abandoned
                effort[event.subject] += points[event.kind].effort + 3 * unsolved
        others = [effort[s] for s in effort if s not in decided]
        assert _auc([effort[s] for s in pained], others) > 0.85
        assert _auc([effort[s] for s in decided], others) > 0.65

    def test_an_outage_shows_in_the_events(self, told: Any) -> None:
        lines, events = told
        outages = [(i["start"], i["end"]) for i in lines[0]["incidents"] if i["cause"] == "web_outage"]
        errors = [event.time for event in events if event.type == Kind.error.type]
        during = sum(any(start <= t < end for start, end in outages) for t in errors)
        hours = sum(_ms(end) - _ms(start) for start, end in outages) / 3_600_000
        assert during / hours > 3 * (len(errors) - during) / (50 * 24 - hours)

    def test_company_events_do_not_stand_in_for_customers(self, told: Any) -> None:
        _, events = told
        company = {kind.type for kind in Kind if kind.spec.company}
        assert 0.02 < sum(event.type in company for event in events) / len(events) < 0.2


class TestCommand:
    def test_truth_and_summary(self, tmp_path: Path) -> None:
        result = run(
            "--customers",
            "50",
            "--days",
            "3",
            "--out",
            tmp_path / "t.ndjson",
            "--truth",
            tmp_path / "truth.ndjson",
        )
        assert result.exit_code == 0, result.output
        records = (tmp_path / "t.ndjson").read_bytes().count(b"\n")
        assert result.stdout == f"{records:,} records of 50 customers written to {tmp_path / 't.ndjson'}\n"
        assert json.loads((tmp_path / "truth.ndjson").read_bytes().splitlines()[0])["records"] == records

    def test_a_start_may_have_an_offset(self, tmp_path: Path) -> None:
        few = ("--customers", "20", "--days", "1", "--quiet")
        starts = ("2026-09-30", "2026-09-30T00:00:00Z", "2026-09-30T02:00:00+02:00")
        for n, start in enumerate(starts):
            assert run(*few, "--start", start, "--out", tmp_path / f"{n}.ndjson").exit_code == 0
        texts = {(tmp_path / f"{n}.ndjson").read_bytes() for n in range(len(starts))}
        assert len(texts) == 1
        assert b'"time":"2026-09-30T' in texts.pop()

    def test_a_file_has_no_records_from_the_future_unless_asked(self, tmp_path: Path) -> None:
        broken = ("--customers", "200", "--days", "10", "--broken", "0.1", "--quiet")
        assert run(*broken, "--out", tmp_path / "a.ndjson").exit_code == 0
        assert b'"time":"2036' not in (tmp_path / "a.ndjson").read_bytes()
        assert run(*broken, "--future", "--out", tmp_path / "b.ndjson").exit_code == 0
        assert b'"time":"2036' in (tmp_path / "b.ndjson").read_bytes()

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("--out", "a.csv"), "must end in .ndjson"),
            (("--out", "a.ndjson", "--rate", "5"), "--rate is for a topic"),
            (("--out", "a.ndjson", "--for", "5"), "--for is for a topic"),
            (("--rate", "5", "--speed", "5"), "give one of them"),
            (("--late", "0.5"), "--late"),
        ],
    )
    def test_options_that_contradict_each_other_are_refused(
        self, arguments: tuple[str, ...], says: str
    ) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert says in result.output

    async def test_interrupted_it_leaves_no_half_file(self, tmp_path: Path) -> None:
        out = tmp_path / "a.ndjson"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cxstream", "simulate", "--days", "10000", "--quiet", "--out", str(out)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            while not any(each.stat().st_size for each in tmp_path.iterdir()):  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, complained = await process.communicate()
        assert (process.returncode, said) == (130, b"")
        assert complained.decode() == f"interrupted: {out} is not written\n"
        assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        result = run("--customers", "5", "--events", "5", "--out", tmp_path / "none" / "a.ndjson")
        assert result.exit_code == 1
        assert "cannot be written: there is no folder" in str(result.exception)


class TestTopic:
    async def test_what_arrives_is_what_the_truth_counts(
        self, settings: Settings, topics: Callable[[int], None], tmp_path: Path
    ) -> None:
        topics(3)
        arguments = (
            "--customers",
            "300",
            "--events",
            "20000",
            "--broken",
            "0.02",
            "--duplicates",
            "0.02",
            "--quiet",
        )
        process = await simulating(settings, *arguments, "--truth", tmp_path / "truth.ndjson")
        said, _ = await process.communicate()
        assert process.returncode == 0
        assert said.decode() == f"20,000 records of 300 customers sent to {settings.kafka}\n"
        told = told_by(tmp_path / "truth.ndjson")
        found: Counter[str] = Counter()
        for partition, records in (await everything(settings)).items():
            engine = Engine(ScoringParams(), {}, partition=partition)
            outcome = engine.process(
                Records(
                    [r.value for r in records],
                    [r.offset for r in records],
                    [r.timestamp + 300_000 for r in records],
                    keys=[r.key for r in records],
                )
            )
            found.update(accepted=outcome.accepted, duplicate=outcome.duplicates)
            found.update(rejection.reason for rejection in outcome.rejected)
        put_in = {name: n for name, n in told["faults"].items() if name not in ("late", "out_of_order")}
        assert min(put_in.values()) > 50
        assert found == {"accepted": told["accepted"], **put_in}

    async def test_interrupted_it_has_sent_what_it_says(
        self, settings: Settings, topics: Callable[[int], None], tmp_path: Path
    ) -> None:
        topics(2)
        process = await simulating(
            settings, "--customers", "100", "--rate", "300", "--truth", tmp_path / "truth.ndjson"
        )
        async with asyncio.timeout(120):
            while not sum(map(len, (await everything(settings)).values())):  # noqa: ASYNC110 - another process acts
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, complained = await process.communicate()
        assert process.returncode == 130, complained
        sent = sum(map(len, (await everything(settings)).values()))
        assert said.decode().startswith(f"{sent:,} records of 100 customers sent")
        assert told_by(tmp_path / "truth.ndjson")["records"] == sent

    async def test_a_rate_is_not_exceeded_and_time_ends_it(
        self, settings: Settings, topics: Callable[[int], None]
    ) -> None:
        topics(1)
        process = await simulating(settings, "--customers", "100", "--rate", "100", "--for", "1", "--quiet")
        await process.communicate()
        assert process.returncode == 0
        assert 1 <= len((await everything(settings))[0]) <= 101

    async def test_without_topics_it_says_what_to_do(
        self, settings: Settings, topics: Callable[[int], None]
    ) -> None:
        topics(0)
        process = await simulating(settings, "--events", "5", "--quiet")
        _, complained = await process.communicate()
        assert process.returncode == 1
        assert b"cxstream topics --create" in complained


@pytest.mark.parametrize(
    ("days", "events", "pace", "span"),
    [
        (2.0, None, Pace(), 2.0),
        (None, None, Pace(speed=86_400, seconds=5), 5.0),
        (None, 31_000, Pace(), 11.0),
        (None, None, Pace(rate=3_100, seconds=10), 11.0),
        (None, None, Pace(), 30.0),
    ],
)
def test_a_topic_begins_so_long_ago_that_it_ends_about_now(
    days: float | None, events: int | None, pace: Pace, span: float
) -> None:
    ago = time.time() * 1000 - start_to_end_now(1_000, days, events, pace)
    assert ago / DAY == pytest.approx(span, abs=0.1)


async def simulating(settings: Settings, *arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cxstream", "simulate", "--kafka", settings.kafka, *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def everything(settings: Settings) -> dict[int, list[Any]]:
    """All records of cx.touchpoints by partition."""
    consumer = AIOKafkaConsumer(**connection(settings))
    await consumer.start()
    try:
        [found] = await require_topics(settings, [TOUCHPOINTS])
        partitions = range(found.partitions)
        assigned = [TopicPartition(TOUCHPOINTS.name, partition) for partition in partitions]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        ends = await consumer.end_offsets(assigned)
        read: dict[int, list[Any]] = {partition: [] for partition in partitions}
        while sum(map(len, read.values())) < sum(ends.values()):
            for where, records in (await consumer.getmany(timeout_ms=500)).items():
                read[where.partition] += records
        return read
    finally:
        await consumer.stop()


def told_by(path: Path) -> dict[str, Any]:
    run_line: dict[str, Any] = json.loads(path.read_bytes().splitlines()[0])
    return run_line


def _ms(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp() * 1000


def _auc(leavers: list[float], others: list[float]) -> float:
    """Probability that a leaver had more than another, ties counting half."""
    ours, theirs = np.array(leavers)[:, None], np.array(others)[None, :]
    return float((ours > theirs).mean() + 0.5 * (ours == theirs).mean())


EXPERIMENT = "[scoring.experiments.retention]\nholdout = 0.4\n"


class TestActing:
    """The CRM acts on signals by their arm."""

    @pytest.fixture(scope="class")
    @classmethod
    def acted(cls) -> tuple[Simulation, np.ndarray, list[bytes]]:
        rules = rules_of(default_1(experiments={"retention": {"holdout": 0.4}}), ACTIONS)
        simulation, blocks = taken(Plan(600, START, days=50, trouble=3, acting=Acting(rules, 0.9)))
        return simulation, *joined(blocks)

    def test_everybody_with_a_signal_is_acted_on_by_its_arm(
        self, acted: tuple[Simulation, np.ndarray, list[bytes]]
    ) -> None:
        simulation, rows, values = acted
        assert simulation.plan.acting is not None
        router = Router(simulation.plan.acting.rules.params, ACTIONS)
        # In one batch, as nobody reads it live.
        signals = [json.loads(row.value) for row in router.process(values, int(rows["arrival"].max())).rows]
        told: dict[str, list[tuple[str, str]]] = {}
        for each in signals:
            if each["type"] == CHURN_RISK_TYPE and each["data"]["change"] in {"raised", "worsened"}:
                told.setdefault(each["subject"], []).append((each["time"][:10], each["data"]["arm"]))
        assert len(told) > 100
        assert crm_acts(simulation).keys() <= told.keys()
        first = {name: acts[0] for name, acts in crm_acts(simulation).items()}
        # Who was told of on the last day, or left in the night, is not acted on.
        assert len(first) > 0.85 * len(told)
        for name, act in first.items():
            assert act.arm == told[name][0][1]
            assert act.kept is False or act.arm == "treated"
        kinds = Counter(
            json.loads(value)["data"]["arm"]
            for value, row in zip(values, rows, strict=True)
            if row["kind"] == Kind.action_taken and row["fault"] == 0
        )
        assert abs(kinds["holdout"] / kinds.total() - 0.4) < 0.1

    def test_who_is_kept_does_not_leave_for_a_while(
        self, acted: tuple[Simulation, np.ndarray, list[bytes]]
    ) -> None:
        simulation, rows, _ = acted
        left = [
            (int(row["cust"]), int(row["t"]))
            for row in rows[rows["kind"] == Kind.churned]
            if row["fault"] == 0
        ]
        assert simulation.crm is not None
        assert len(left) > 10
        for index, t in left:
            # A departure is heard of at least 4 days after the decision.
            acts = simulation.crm.acts.get(index, [])
            assert not any(act.kept and 0 < t - act.at < 4 * DAY for act in acts)
        lines = list(truth.lines(simulation))
        assert lines[0]["effect"] == 0.9
        arms = {
            arm: [line for line in lines[1:] if line["acts"] and line["acts"][0]["arm"] == arm]
            for arm in ("treated", "holdout")
        }
        gone = {arm: sum(bool(line["departures"]) for line in some) / len(some) for arm, some in arms.items()}
        assert gone["treated"] < gone["holdout"] / 2

    def test_evaluate_finds_the_effect(self, tmp_path: Path) -> None:
        rules, out, report = (tmp_path / name for name in ("rules.toml", "e.ndjson", "e.json"))
        rules.write_text(EXPERIMENT)
        options = ("--customers", "600", "--days", "50", "--trouble", "3", "--quiet", "--seed", "5")
        result = run(*options, "--out", out, "--rules", rules, "--effect", "0.9")
        assert result.exit_code == 0, result.output
        words = ["evaluate", out, "--rules", rules, "--days", "21", "--report", report]
        result = CliRunner().invoke(group, [*map(str, words)])
        assert result.exit_code == 0, result.output
        (experiment, _) = json.loads(report.read_bytes())["results"]
        assert experiment["warnings"] == []
        churn = next(each for each in experiment["metrics"] if each["name"] == "churn")
        assert churn["estimate"]["high"] < 0

    def test_rules_without_an_experiment_are_refused(self, tmp_path: Path) -> None:
        rules = tmp_path / "rules.toml"
        rules.write_text("")
        assert "has no experiment" in run("--out", tmp_path / "x.ndjson", "--rules", rules).output


def crm_acts(simulation: Simulation) -> dict[str, list[Act]]:
    assert simulation.crm is not None
    return {simulation.subjects[index].decode(): acts for index, acts in simulation.crm.acts.items()}
