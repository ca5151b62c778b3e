"""Collects the metrics when Prometheus scrapes, in the thread of the metrics server.

All values are read from the worker's counters, histograms and states. Only names that
`cxstream.worker.metrics.definitions` defines can be exported.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prometheus_client import core
from prometheus_client.registry import Collector

import cxstream
from cxstream.model.enumerations import CHANNELS, LEVELS
from cxstream.model.features import FEATURES
from cxstream.model.rules import rules_of
from cxstream.topology import FORGET, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.metrics.definitions import (
    BUDGET,
    CONTACT_RESULTS,
    KINDS,
    METRICS,
    NPS,
    OUTCOMES,
    REASONS,
    REFUSALS,
    SIGNALS,
    STANDINGS,
    STATES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cxstream.worker.metrics.buckets import Buckets
    from cxstream.worker.metrics.counters import Counters
    from cxstream.worker.ownership.partition import Partition
    from cxstream.worker.telemetry.distribution import DistributionMonitor
    from cxstream.worker.telemetry.sources import Offsets, Rebalances, Worker

# Labels name the topics as the contract does, so that dashboards and alerts fit every installation.
_READ = (TOUCHPOINTS.contract, SNAPSHOTS.contract, FORGET.contract)
_FAMILIES = {
    "counter": core.CounterMetricFamily,
    "gauge": core.GaugeMetricFamily,
    "histogram": core.HistogramMetricFamily,
    "gaugehistogram": core.GaugeHistogramMetricFamily,
    "info": core.InfoMetricFamily,
}


def family(name: str, series: Iterable[tuple[Sequence[object], Any]]) -> Any:
    """A metric of `cxstream.worker.metrics.definitions` with its series.

    Args:
        name: of the metric.
        series: label values in the order of its labels, and the value: a number, Buckets, or the facts of an info.
    """
    metric = METRICS[name]
    labels = () if metric.type == "info" else tuple(metric.labels)
    made: Any = _FAMILIES[metric.type](name.removesuffix("_info"), metric.meaning, labels=labels)
    for values, value in series:
        texts = [str(each) for each in values]
        if metric.type in {"histogram", "gaugehistogram"}:
            made.add_metric(texts, value.cumulated(), value.sum)
        else:
            made.add_metric(texts, value)
    return made


class WorkerCollector(Collector):
    """The metrics of one worker.

    Args:
        worker: the worker to measure.
        distribution: the score distribution.
        offsets: first and last offsets of the partitions.
        rebalances: those of the group.
    """

    def __init__(
        self, worker: Worker, distribution: DistributionMonitor, offsets: Offsets, rebalances: Rebalances
    ) -> None:
        self._worker = worker
        self._distribution = distribution
        self._offsets = offsets
        self._rebalances = rebalances
        self._settings_rules = rules_of(worker.settings.scoring, worker.settings.actions)

    def describe(self) -> Iterable[core.Metric]:
        """Nothing, so that registration does not collect."""
        return ()

    def collect(self) -> Iterator[core.Metric]:
        """Every metric."""
        yield from self._records()
        yield from self._partitions()
        yield from self._lag()
        yield from self._work()
        yield from self._business()
        yield from self._process()

    # --- by partition

    def _counters(self) -> dict[int, Counters]:
        return dict(self._worker.partitions.counters)

    def _by_partition(self, name: str, attribute: str) -> Any:
        return family(name, (([n], getattr(each, attribute)) for n, each in self._counters().items()))

    def _known(self, name: str, owned: Sequence[Partition], attribute: str, scale: float = 1.0) -> Any:
        """A value per owned partition that has one."""
        facts = ((each.number, getattr(each.counters, attribute)) for each in owned)
        return family(name, (([number], value / scale) for number, value in facts if value is not None))

    def _records(self) -> Iterator[core.Metric]:
        measures = self._worker.partitions.measures
        yield family(
            "cxstream_events_total",
            (([n, each], one.outcomes[each]) for n, one in self._counters().items() for each in OUTCOMES),
        )
        # Every reason exists from the start, so that the first rejection is an increase.
        rejected = {(reason, "unknown"): 0 for reason in REASONS} | dict(measures.rejected)
        yield family("cxstream_rejected_total", rejected.items())
        sources = dict(measures.sources)
        yield family("cxstream_source_events_total", (([source], n) for source, n in sources.items()))
        misrouted = dict(measures.misrouted)
        yield family("cxstream_misrouted_total", (([source], n) for source, n in misrouted.items()))
        unknown = dict(measures.unknown_actions)
        yield family("cxstream_unknown_actions_total", (([source], n) for source, n in unknown.items()))
        without = dict(measures.unconverted)
        yield family(
            "cxstream_unconverted_amounts_total", (([currency], n) for currency, n in without.items())
        )
        kinds = dict(zip(KINDS, measures.kinds.tolist(), strict=True)) | dict(measures.own_kinds)
        yield family("cxstream_touchpoints_total", (([kind], n) for kind, n in kinds.items()))
        yield self._by_partition("cxstream_lost_records_total", "lost")
        yield family("cxstream_commit_delay_seconds", (([k], v) for k, v in measures.commit_delay.items()))
        yield family("cxstream_event_delay_seconds", [([], measures.event_delay)])

    def _partitions(self) -> Iterator[core.Metric]:
        owned, stalls = list(self._worker.partitions), self._worker.watch.stalls
        yield self._known("cxstream_newest_event_timestamp_seconds", owned, "newest", 1000)
        yield self._known("cxstream_commit_timestamp_seconds", owned, "committed_at")
        yield self._known("cxstream_snapshot_timestamp_seconds", owned, "saved_at")
        yield family(
            "cxstream_partition_state",
            (([p.number, state], float(p.state == state)) for p in owned for state in STATES),
        )
        yield family("cxstream_partition_stalled", (([p.number], float(p.number in stalls)) for p in owned))
        standstills = self._worker.partitions.standstills(stalls)
        yield family(
            "cxstream_partition_no_progress_offset", (([n], at.offset) for n, at in standstills.items())
        )
        yield family("cxstream_halted", [([], float(bool(self._worker.partitions.halted)))])
        prefix = self._worker.settings.topics.prefix
        unreadable = {(topic.removeprefix(prefix), n) for topic, n in self._worker.partitions.unreadable}
        yield family(
            "cxstream_partition_unreadable",
            (([topic, p.number], float((topic, p.number) in unreadable)) for p in owned for topic in _READ),
        )
        yield family("cxstream_waiting_fetches", (([p.number], p.waiting) for p in owned))
        yield family("cxstream_waiting_bytes", (([p.number], p.waiting_bytes) for p in owned))
        states = [(p.number, engine) for p in owned if (engine := p.engine) is not None]
        yield family("cxstream_state_rows", (([n], engine.customers) for n, engine in states))
        yield family("cxstream_state_panes", (([n], engine.panes) for n, engine in states))
        yield family("cxstream_state_bytes", (([n], engine.state_bytes) for n, engine in states))
        in_force = [(n, engine.rules.latest) for n, engine in states]
        yield family("cxstream_rules_in_force", (([n, each.rules.label], 1.0) for n, each in in_force))
        yield family(
            "cxstream_rules_differ",
            (
                ([n], float(each.of_log and not each.rules.is_same(self._settings_rules)))
                for n, each in in_force
            ),
        )
        yield family("cxstream_ready", [([], float(self._worker.ready))])
        for name, attribute in (
            ("cxstream_partition_failures_total", "failures"),
            ("cxstream_partition_fenced_total", "fenced"),
            ("cxstream_restores_total", "restores"),
            ("cxstream_replayed_records_total", "replayed"),
            ("cxstream_followed_records_total", "followed"),
            ("cxstream_snapshots_total", "snapshots"),
            ("cxstream_snapshots_failed_total", "unsaved"),
            ("cxstream_snapshot_rows_total", "snapshot_rows"),
        ):
            yield self._by_partition(name, attribute)
        yield family(
            "cxstream_snapshots_refused_total",
            (([n, each], one.refused[each]) for n, one in self._counters().items() for each in REFUSALS),
        )

    def _lag(self) -> Iterator[core.Metric]:
        topic, group = TOUCHPOINTS.contract, self._worker.settings.worker.group
        oldest = dict(self._offsets.oldest)
        owned = list(self._worker.partitions)
        ends = {p.number: self._end(p) for p in owned}
        committed = {p.number: p.counters.committed or 0 for p in owned}
        lag = {n: max(end - committed[n], 0) for n, end in ends.items()}
        for name, values in (
            ("kafka_consumergroup_lag", lag),
            ("kafka_consumergroup_current_offset", committed),
        ):
            yield family(name, (([group, topic, n], value) for n, value in values.items()))
        mine = {n: offset for n, offset in oldest.items() if n in ends}
        for name, values in (
            ("kafka_topic_partition_current_offset", ends),
            ("kafka_topic_partition_oldest_offset", mine),
        ):
            yield family(name, (([topic, n], value) for n, value in values.items()))
        yield family("cxstream_kafka_answer_timestamp_seconds", [([], self._offsets.answered_at)])
        count = self._offsets.partitions
        yield family("kafka_topic_partitions", [([topic], count)] if count else [])

    def _end(self, partition: Partition) -> int:
        return max(partition.end, self._offsets.ends.get(partition.number, 0))

    # --- by process

    def _work(self) -> Iterator[core.Metric]:
        measures = self._worker.partitions.measures
        for name, histogram in (
            ("cxstream_batch_records", measures.batch),
            ("cxstream_decode_seconds", measures.decode),
            ("cxstream_kernel_seconds", measures.kernel),
            ("cxstream_flush_records", measures.flush_records),
            ("cxstream_flush_seconds", measures.flush),
            ("cxstream_transaction_seconds", measures.transaction),
            ("cxstream_snapshot_seconds", measures.snapshot),
            ("cxstream_recovery_seconds", measures.recovery),
        ):
            yield family(name, [([], histogram)])
        counters = self._counters().items()
        ends = (("committed", "flushes"), ("aborted", "aborted"))
        yield family(
            "cxstream_transactions_total",
            (([n, outcome], getattr(each, name)) for n, each in counters for outcome, name in ends),
        )

    def _business(self) -> Iterator[core.Metric]:
        measures = self._worker.partitions.measures
        signals = dict.fromkeys(_signals(), 0) | dict(measures.signals)
        yield family("cxstream_signals_total", signals.items())
        reasons = dict(measures.reasons)
        yield family("cxstream_raise_reasons_total", (([each], reasons.get(each, 0)) for each in FEATURES))
        yield family("cxstream_held_back_total", [([], measures.held_back)])
        yield family("cxstream_score_cards_total", [([], measures.cards)])
        yield family("cxstream_scored_rows_total", [([], measures.scored_rows)])
        yield family("cxstream_scored_bytes_total", [([], measures.scored_bytes)])
        scores = self._distribution.scores
        yield family("cxstream_customers", _each(STANDINGS, scores.levels.tolist()))
        yield family("cxstream_customer_effort", [([], scores.effort)])
        yield family("cxstream_customer_satisfaction", [([], scores.satisfaction)])
        yield family("cxstream_customer_churn_risk_ratio", [([], scores.risk)])
        yield family("cxstream_nps_answers_total", _table(NPS, measures.nps.tolist()))
        yield family("cxstream_contacts_total", _table(CONTACT_RESULTS, measures.contacts.tolist()))
        for name, by_channel in (
            ("cxstream_csat_score", measures.csat),
            ("cxstream_ces_score", measures.ces),
            ("cxstream_wait_seconds", measures.waits),
        ):
            yield family(name, _channels(by_channel))

    def _process(self) -> Iterator[core.Metric]:
        worker, ticker, rebalances = self._worker, self._worker.ticker, self._rebalances
        interval = worker.settings.worker.tick_seconds if ticker else 0.0
        yield family("cxstream_ticker_interval_seconds", [([], interval)])
        yield family("cxstream_ticker_round_timestamp_seconds", [([], ticker.round_at if ticker else 0.0)])
        yield family("cxstream_ticks_written_total", [([], ticker.written if ticker else 0)])
        yield family("cxstream_tick_failures_total", [([], ticker.failures if ticker else 0)])
        budget = worker.partitions.budget
        yield family(
            "cxstream_memory_budget_bytes", _each(BUDGET, [getattr(budget, each) for each in BUDGET])
        )
        build = {
            "version": cxstream.__version__,
            "python": platform.python_version(),
            "faust": version("faust-streaming"),
        }
        yield family("cxstream_build_info", [([], build)])
        yield family("cxstream_settings_info", [([], {"rules": self._settings_rules.label})])
        yield family("faust_messages_received_total", [([], worker.monitor.messages_received_total)])
        yield family("faust_rebalances_total", [([], rebalances.count)])
        yield family("faust_rebalance_seconds", [([], rebalances.seconds)])
        answers = dict(worker.monitor.http_response_codes)
        yield family("faust_web_responses_total", (([int(code)], n) for code, n in answers.items()))


def _signals() -> Iterator[tuple[str, str]]:
    """Kind and level of every possible signal."""
    for kind in SIGNALS:
        for level in LEVELS:
            if (level == "none") == (kind in {"friction", "cleared", "erased"}):
                yield kind, level


def _each(values: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[list[str], int]]:
    return (([value], number) for value, number in zip(values, numbers, strict=True))


def _table(columns: Sequence[str], rows: list[list[int]]) -> Iterator[tuple[list[str], int]]:
    for channel, row in zip(CHANNELS, rows, strict=True):
        for column, number in zip(columns, row, strict=True):
            yield [channel, column], number


def _channels(by_channel: Mapping[str, Buckets]) -> Iterator[tuple[list[str], Buckets]]:
    return (([channel], buckets) for channel, buckets in by_channel.items())
