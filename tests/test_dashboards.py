"""Dashboards: what is committed, what they ask for, and that a Prometheus beside a running worker has it all."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.prometheus import Dataquery
from hypothesis import given
from hypothesis import strategies as st

import asking
import surveys
from board import Query
from cxstream.console.metrics import ConsoleMetrics
from cxstream.settings import Sink
from cxstream.sink.metrics import Metrics as SinkMetrics
from cxstream.sink.records import Rows
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.warehouse.predictions import FIGURES, OF_BAND, STATES, Quality
from cxstream.warehouse.predictions import RULES as PREDICTION_RULES
from cxstream.worker.telemetry.metrics_server import MetricsServer
from generate import BOARDS, OUT, stale
from monitoring import EVERY_METRIC as METRICS
from monitoring import RULES, monitoring
from workers import Watcher, WorkerProcess, cxstream, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.settings import Settings

ROOT = Path(__file__).parent.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = {path.name: json.loads(path.read_text()) for path in sorted(OUT.glob("*.json"))}
SECONDS = 120.0
# What Prometheus itself and prometheus_client have.
FOREIGN = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Panels that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


# Those that ask a Prometheus; test_sink.py runs the queries of the others.
ASKING_PROMETHEUS = {board.file for board in BOARDS if board.source == "prometheus"}


def targets() -> Iterator[tuple[str, str]]:
    """Where each query stands, and its PromQL."""
    for name, board in FILES.items():
        if name not in ASKING_PROMETHEUS:
            continue
        for panel in panels(board):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']} {target['refId']}", target["expr"]


def source_of(name: str) -> str:
    """The kind of data source that a dashboard asks."""
    return "prometheus" if name in ASKING_PROMETHEUS else "grafana-postgresql-datasource"


# --- what is committed


def test_dashboards_are_what_the_boards_say() -> None:
    assert stale(OUT, "docs/runbooks") == [], "run: python deploy/dashboards/generate.py"
    assert set(FILES) == {
        "pipeline.json",
        "console.json",
        "customer-experience.json",
        "kafka-and-state.json",
        "postgresql.json",
        "warehouse.json",
    }


def test_the_check_fails_where_something_differs(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "deploy/dashboards/generate.py", "--out", tmp_path]
    assert subprocess.run([*command, "--check"], check=False, capture_output=True).returncode == 1
    assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    (tmp_path / "left-over.json").write_text("{}")
    done = subprocess.run([*command, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "left-over.json" in done.stderr


@pytest.mark.parametrize("name", FILES)
def test_dashboards_are_of_grafanas_types(name: str) -> None:
    """Read into the SDK's types and written again, nothing is lost, added or of another kind."""
    board = Dashboard.from_json(FILES[name])
    assert json.loads(json.dumps(board, cls=JSONEncoder)) == FILES[name]
    queries = [target for panel in board.panels or [] for target in getattr(panel, "targets", None) or []]
    assert queries
    kind = Dataquery if name in ASKING_PROMETHEUS else UnknownDataquery
    assert all(isinstance(query, kind) for query in queries)


def test_addresses_of_dashboards_stay() -> None:
    assert {name: board["uid"] for name, board in FILES.items()} == {
        "console.json": "cxstream-console",
        "pipeline.json": "cxstream-pipeline",
        "customer-experience.json": "cxstream-customer-experience",
        "kafka-and-state.json": "cxstream-kafka-and-state",
        "postgresql.json": "cxstream-postgresql",
        "warehouse.json": "cxstream-warehouse",
    }


@pytest.mark.parametrize("name", FILES)
def test_panels_are_in_order(name: str) -> None:
    board = FILES[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells
    for panel in panels(board):
        assert panel["datasource"] == {"type": source_of(name), "uid": "${datasource}"}
        assert panel["description"].endswith((".", ".md")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
        assert all(
            target["expr" if name in ASKING_PROMETHEUS else "rawSql"]
            and target["datasource"] == panel["datasource"]
            for target in panel["targets"]
        )
    titles = [panel["title"] for panel in panels(board)]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", FILES)
def test_variables_are_those_that_are_used(name: str) -> None:
    board = FILES[name]
    defined = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert defined["datasource"]["type"] == "datasource"
    assert defined["datasource"]["query"] == source_of(name)
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"])))
    assert used == set(defined)


def test_every_alert_with_a_panel_has_its_runbook() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (RULES / "cxstream.alerts.yml").read_text()))
    linked: set[str] = set()
    for board in FILES.values():
        for panel in panels(board):
            for link in panel["links"]:
                assert link["url"] == f"${{runbooks:raw}}/{link['title']}.md"
                assert (RUNBOOKS / f"{link['title']}.md").is_file()
                linked.add(link["title"])
    # That alerting works is seen in the table of alerts; what runs has no alert.
    assert alerts - linked == {"CxstreamWatchdog"}


# --- what they ask for


def exposed() -> dict[str, Any]:
    """The metric behind each series there is; None for what rules record."""
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "gaugehistogram": ("_bucket", "_gsum", "_gcount")}
    found: dict[str, Any] = {
        metric.name + suffix: metric
        for metric in METRICS.values()
        for suffix in suffixes.get(metric.type, ("",))
    }
    recorded = re.findall(r"- record: (\S+)", (RULES / "cxstream.rules.yml").read_text())
    return found | dict.fromkeys([*recorded, *FOREIGN])


def selectors(expr: str) -> Iterator[tuple[str, str]]:
    """Each series in PromQL and what is asked of its labels."""
    functions = r"(?!(?:by|on|or|and|unless|group_left|group_right|without|ignoring|offset)\b)"
    for name, inside in re.findall(
        rf"\b{functions}([a-zA-Z_:][\w:]*)(?:\{{([^}}]*)\}})?(?=[^\w:({{]|$)", expr
    ):
        if name in FOREIGN or re.match(r"(cxstream|faust|kafka)[_:]", name):
            yield name, inside


def test_selectors_are_found() -> None:
    assert list(
        selectors('sum by (le) (rate(cxstream_a_total{x="1", y=~"2|3"}[5m])) / (faust_b > 0) + cxstream:c:d')
    ) == [
        ("cxstream_a_total", 'x="1", y=~"2|3"'),
        ("faust_b", ""),
        ("cxstream:c:d", ""),
    ]


def test_queries_use_what_is_defined() -> None:
    known = exposed()
    for where, expr in targets():
        found = list(selectors(expr))
        assert found, where
        for name, inside in found:
            assert name in known, where
            metric = known[name]
            for label, operator, wanted in re.findall(r'(\w+)\s*(=~|!=|=)\s*"([^"]*)"', inside):
                if metric is None or wanted == "$channel" or label == "job":
                    continue
                if label == "le":
                    assert float(wanted) in metric.buckets, where
                    continue
                allowed = metric.labels[label]
                values = wanted.split("|") if operator == "=~" else [wanted]
                assert isinstance(allowed, str) or set(values) <= set(allowed), where


def test_what_a_kafka_exporter_has_too_is_asked_of_the_workers() -> None:
    for where, expr in targets():
        for name, inside in selectors(expr):
            assert not name.startswith("kafka_") or 'job="cxstream"' in inside, where


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for _, expr in targets() for name, _ in selectors(expr)}
    behind = {metric.name for name, metric in exposed().items() if metric is not None and name in shown}
    recorded = (RULES / "cxstream.rules.yml").read_text()
    left = {name for name in METRICS if name not in behind and name not in recorded}
    assert left == set()


def test_unknown_variables_are_noticed() -> None:
    span = asking.Span(0, 1, 1)
    assert asking.filled('x{channel=~"$channel"}[$window]', span) == 'x{channel=~".*"}[7d]'
    with pytest.raises(ValueError, match="unknown variable"):
        asking.filled("x[$nope]", span)


# --- margins


def evaluated(expr: str, answers: dict[str, float]) -> float:
    """PromQL of `surveys` with numbers in place of its sums."""

    def number(found: re.Match[str]) -> str:
        return f"({answers[found[1]]})"

    text = re.sub(r"sum\(increase\(([^\[]*)\[\$window\]\)\)", number, expr)
    text = re.sub(r"\((\([\d.]+\)) >=? \d+\)", r"\1", text).replace("^", "**")
    known = {"sqrt": math.sqrt, "clamp_min": max}
    return float(eval(text, {"__builtins__": {}}, known))


CHOSEN = 'channel=~"$channel"'


@given(st.lists(st.integers(0, 10), min_size=30, max_size=200))
def test_nps_and_its_margin(scores: list[int]) -> None:
    draws = np.array([1 if score >= 9 else -1 if score <= 6 else 0 for score in scores])
    series = "cxstream_nps_answers_total{" + CHOSEN
    answers = {
        series + "}": len(draws),
        series + ', class="promoter"}': (draws == 1).sum(),
        series + ', class="detractor"}': (draws == -1).sum(),
        series + ', class!="passive"}': (draws != 0).sum(),
    }
    found = surveys.nps()
    assert evaluated(found.value, answers) == pytest.approx(100 * draws.mean(), abs=1e-9)
    expected = 100 * 1.96 * draws.std() / math.sqrt(len(draws))
    assert evaluated(found.margin, answers) == pytest.approx(expected, abs=1e-5)
    assert evaluated(found.upper, answers) == pytest.approx(100 * draws.mean() + expected, abs=1e-5)
    assert evaluated(found.lower, answers) == pytest.approx(100 * draws.mean() - expected, abs=1e-5)


@given(st.lists(st.integers(1, 5), min_size=30, max_size=200))
def test_csat_and_its_margin(scores: list[int]) -> None:
    draws = np.array([score >= 4 for score in scores], float)
    answers = {
        f"cxstream_csat_score_count{{{CHOSEN}}}": len(draws),
        f'cxstream_csat_score_bucket{{{CHOSEN}, le="3.0"}}': (draws == 0).sum(),
    }
    found = surveys.csat()
    assert evaluated(found.value, answers) == pytest.approx(100 * draws.mean(), abs=1e-9)
    expected = 196 * draws.std() / math.sqrt(len(draws))
    assert evaluated(found.margin, answers) == pytest.approx(expected, abs=1e-5)


@given(st.lists(st.integers(1, 7), min_size=30, max_size=200))
def test_ces_and_its_margin(scores: list[int]) -> None:
    draws = np.array(scores, float)
    answers = {
        f"cxstream_ces_score_count{{{CHOSEN}}}": len(draws),
        f"cxstream_ces_score_sum{{{CHOSEN}}}": draws.sum(),
        **{f'cxstream_ces_score_bucket{{{CHOSEN}, le="{k}.0"}}': (draws <= k).sum() for k in range(1, 8)},
    }
    found = surveys.ces()
    assert evaluated(found.value, answers) == pytest.approx(draws.mean(), abs=1e-9)
    expected = 1.96 * draws.std(ddof=1) / math.sqrt(len(draws))
    assert evaluated(found.margin, answers) == pytest.approx(expected, abs=1e-5)


# --- the whole way


# Prometheus scrapes every second here: four scrapes are $__rate_interval.
LATELY = "5s"


def unanswered(address: str, since: float) -> list[str]:
    """Queries of panels that have no number in all the time since then."""
    span = asking.Span(since, time.time(), 1, LATELY)
    return [
        f"{board.file}: {panel.title}, {query.legend}"
        for board in BOARDS
        if board.source == "prometheus"
        for panel in board.panels()
        for query in panel.queries
        if not asking.asked(address, query, span)
    ]


@pytest.mark.broker
@pytest.mark.timeout(600)
async def test_every_panel_has_data(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(2)
    patience = {"CXSTREAM_WORKER__TICK_SECONDS": "1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "2"}
    with WorkerProcess(settings, tmp_path / "log", ticker=True, **patience) as worker:
        ready = worker.ready()
        scrape, web = re.findall(r"http://(127\.0\.0\.1:\d+)", ready)
        with (
            readers() as (follow, sink, pages, *there),
            monitoring(tmp_path, scrape, *there) as (prometheus, _),
        ):
            began = time.time()
            await until(
                lambda: asyncio.to_thread(has, prometheus, "cxstream_ready == 1"), SECONDS, lambda: worker.log
            )
            await asyncio.to_thread(traffic, settings)
            batches = itertools.count()
            await live(settings, next(batches))
            async with Watcher(settings, 2) as watcher:
                await until(watcher.all_committed, SECONDS, lambda: worker.log)
            await asyncio.to_thread(urllib.request.urlopen, f"http://{web}/readyz", timeout=60)
            missing: list[str] = []

            async def complete() -> bool:
                # A counter that came up between two scrapes has not grown for Prometheus: it must go on.
                await live(settings, next(batches))
                followed(follow)
                written(sink)
                shown(pages)
                missing[:] = await asyncio.to_thread(unanswered, prometheus, began)
                return not missing

            await until(complete, SECONDS, lambda: "\n".join(missing))
        assert worker.stop() == 0, worker.log


@contextmanager
def readers() -> Iterator[tuple[FollowMetrics, SinkMetrics, ConsoleMetrics, str, str, str]]:
    """The metrics of a follower, a sink and a console, and where they are served."""
    follow, sink, pages = FollowMetrics(["cx.scored"]), SinkMetrics(Sink()), ConsoleMetrics()
    with ExitStack() as stack:
        ports = []
        for registry in (follow.registry, sink.registry, pages.registry):
            server = MetricsServer(registry, ())
            ports.append(server.start("127.0.0.1", 0))
            stack.callback(server.stop)
        first, second, third = (f"127.0.0.1:{port}" for port in ports)
        yield follow, sink, pages, first, second, third


def followed(metrics: FollowMetrics) -> None:
    """What a follower says of some rows and of a signal that it has sent."""
    metrics.behind("cx.scored", 0, None)
    metrics.taken(10, 0.5)
    metrics.failed("kafka")
    metrics.watched(time.time())
    metrics.waiting(0)
    metrics.sent("raised")
    good = Quality(
        dict.fromkeys(STATES, 50), dict.fromkeys(FIGURES, 0.1), {"all": dict.fromkeys(OF_BAND, 0.04)}
    )
    metrics.predicted(dict.fromkeys(PREDICTION_RULES, good), {"probability": 0.02})


def written(metrics: SinkMetrics) -> None:
    """What a sink says of a batch that it has committed."""
    metrics.committed(Rows(friction=[{}]))
    metrics.lag({"cx.scores": 0}, whole=True)
    metrics.failed("postgresql")


def shown(metrics: ConsoleMetrics) -> None:
    """What a console says of requests, queries and sign-ins."""
    for status in (200, 500):
        metrics.answered("/today", status)
    metrics.took("/today", 0.1)
    metrics.queried("answered", 0.1)
    metrics.signed_in(401)


def has(address: str, expr: str) -> bool:
    """Whether Prometheus has something now."""
    now = time.time()
    try:
        return bool(asking.asked(address, Query(expr), asking.Span(now - 5, now, 1)))
    except OSError:  # not up yet
        return False


def traffic(settings: Settings) -> None:
    """Months of customers who have trouble, as fast as it goes."""
    cxstream(
        "simulate",
        "--kafka",
        settings.kafka,
        "--customers",
        400,
        "--events",
        40_000,
        "--trouble",
        2,
        "--seed",
        7,
    )


async def live(settings: Settings, batch: int) -> None:
    """Errors and survey answers of now; one event is sent twice, two records are rejected, an action and a rate are unknown."""
    when = datetime.now(UTC)
    numbers = range(200 * batch, 200 * (batch + 1))
    now = [at(touchpoint(f"live{n % 200}", n), when) for n in numbers]
    # Margins need 30 answers that came between two scrapes.
    now += [at(answer(n), when) for n in numbers]
    data = {"channel": "crm", "action_id": f"task-{batch}", "amount": 5, "currency": "JPY"}
    now.append(at(touchpoint("live0", numbers.stop, "purchase", **data), when))
    await write(settings, "cx.touchpoints", {0: [*now, now[0], b"{", now[1].replace(b'"web"', b'"nope"')]})


def answer(number: int) -> bytes:
    """An answer to one of the three surveys."""
    kind, least, points = [("survey_ces", 1, 7), ("survey_csat", 1, 5), ("survey_nps", 0, 11)][number % 3]
    return touchpoint(f"answers{number % 200}", number, kind, score=least + number // 3 % points)


def at(event: bytes, when: datetime) -> bytes:
    """The event as if it had happened then."""
    return re.sub(rb'"time":"[^"]*"', b'"time":"%s"' % when.isoformat().encode(), event)
