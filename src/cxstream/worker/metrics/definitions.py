"""Every metric in one place: name, type, unit, labels and meaning, as data.

The exporter of the worker, docs/metrics.md, the alerts and the dashboards follow this table. By Prometheus'
conventions: base units, `_total` for counters, a Unix time for when something last happened (age is
`time() - x`). No label contains a customer, and each has a bounded set of values.

Records and their results are counted when their transaction has been committed, so a batch that is
applied again after a failure counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cxstream.model.enumerations import CHANNELS, LEVELS
from cxstream.model.features import FEATURES
from cxstream.model.kinds import Kind

Type = Literal["counter", "gauge", "histogram", "gaugehistogram", "info"]
Values = tuple[str, ...] | str

# The bounds of labels whose values are not known in advance.
PARTITIONS = "numbers of the partitions of cx.touchpoints"
SOURCES = "the first worker.metrics_sources sources seen, cut at 64 characters; other; unknown"

# More than a set of rules can name: a worker that lives long may see several sets.
MOST_OWN_KINDS = 200
OWN_KINDS = f"the built-in kinds; the first {MOST_OWN_KINDS} kinds of your own that were seen; other"
RULES = "name and digest of each set of rules in force"

OUTCOMES = ("accepted", "duplicate", "late", "rejected", "tick", "rules", "erased", "erasure", "misrouted")
BUDGET = ("total", "process", "fetches", "state")
REASONS = (
    "malformed",
    "invalid",
    "misrouted",
    "from_the_future",
    "too_late",
    "too_large",
    "forged",
    "failed",
    "skipped",
)
SIGNALS = ("friction", "raised", "worsened", "eased", "cleared", "erased")
STATES = ("claiming", "restoring", "running", "failed", "fenced")
REFUSALS = ("damaged", "forged", "other")
FRESHNESS = ("live", "history")
NPS = ("promoter", "passive", "detractor")
CONTACT_RESULTS = ("resolved", "unresolved", "abandoned", "unknown")
STANDINGS = (*LEVELS, "set_aside")
KINDS = tuple(kind.label for kind in Kind)

# Event time this long before the append makes a record history: its delay is not caused by the worker.
HISTORY_SECONDS = 3600.0

_DELAYS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_AGES = (1, 5, 15, 60, 300, 1800, 3600, 21_600, 86_400, 604_800, 2_592_000)
_WORK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_COMMITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RECOVERIES = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_SIZES = (1, 10, 100, 500, 1000, 2000, 5000, 20_000, 50_000, 200_000)
_WAITS = (10, 20, 30, 60, 120, 180, 300, 600, 1200, 1800, 3600)
_SCORES = tuple(range(10, 101, 10))
# Most customers have a small risk.
_RISKS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as scraped; a histogram's series add `_bucket`, `_sum` and `_count`, a gauge histogram's
            `_bucket`, `_gsum` and `_gcount`.
        type: counter, gauge, histogram, gaugehistogram (a histogram of what is, not of what happened) or info
            (1, with the facts as labels).
        unit: of its value.
        meaning: the help text.
        labels: the values of each label, or their bounds.
        buckets: upper bounds of a histogram, without +Inf.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    labels: dict[str, Values] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


_PARTITION: dict[str, Values] = {"partition": PARTITIONS}
_TOPIC: dict[str, Values] = {"topic": ("cx.touchpoints",), **_PARTITION}
_READ: dict[str, Values] = {"topic": ("cx.touchpoints", "cx.snapshots", "cx.forget"), **_PARTITION}
_GROUP: dict[str, Values] = {"consumergroup": "worker.group", **_TOPIC}
_CHANNEL: dict[str, Values] = {"channel": CHANNELS}

RECORDS = (
    Metric(
        "cxstream_events_total",
        "counter",
        "records",
        "Records of cx.touchpoints that were read and committed, by outcome. late: rejected as too "
        "late; rejected: for another reason; ticks let time pass; rules: sets that came into force; erased: dropped, since the customer "
        "had requested erasure; erasures: erasure requests; misrouted: forwarded to the partition of "
        "their customer, where they are counted again. The sum over outcome is the number of records "
        "read.",
        {**_PARTITION, "outcome": OUTCOMES},
    ),
    Metric(
        "cxstream_rejected_total",
        "counter",
        "records",
        "Records written to cx.rejected, including late ones. The source is unknown if it cannot be read.",
        {"reason": REASONS, "source": SOURCES},
    ),
    Metric(
        "cxstream_source_events_total",
        "counter",
        "records",
        "Valid records by source, including duplicates and late ones, without ticks. A forwarded "
        "record counts in its new partition.",
        {"source": SOURCES},
    ),
    Metric(
        "cxstream_misrouted_total",
        "counter",
        "records",
        "Records that were in a wrong partition and were forwarded, by source. The partitioner of its "
        "producer differs from Java's: docs/events.md has the setting.",
        {"source": SOURCES},
    ),
    Metric(
        "cxstream_unknown_actions_total",
        "counter",
        "records",
        "Accepted actions and outcomes (action_taken, purchase, return, complaint_resolved, unsubscribed, churned, "
        "won_back) whose action_id cannot be the id of a signal sent about the customer before: it has another "
        "form, or names another topic, another partition or a later record. The CRM that sends them writes ids of its "
        "own, or mixes customers up: docs/crm.md. An id of the right form that names a record without a signal is not counted.",
        {"source": SOURCES},
    ),
    Metric(
        "cxstream_unconverted_amounts_total",
        "counter",
        "records",
        "Accepted purchases, returns and purchase histories in a currency without a rate, so that their amount is not in "
        "`spent` of the score card. Set scoring.rates.",
        {"currency": "the first 20 ISO 4217 codes seen; other"},
    ),
    Metric(
        "cxstream_touchpoints_total",
        "counter",
        "records",
        "Accepted records by kind; kinds of your own (docs/scoring.md) count by name.",
        {"kind": OWN_KINDS},
    ),
    Metric(
        "cxstream_lost_records_total",
        "counter",
        "records",
        "Offsets that were deleted before they were read, and were skipped because worker.lost_records is accept.",
        _PARTITION,
    ),
)

DELAYS = (
    Metric(
        "cxstream_commit_delay_seconds",
        "histogram",
        "seconds",
        "From a touchpoint's append to Kafka to the commit of its results: the delay that pages. "
        "history: records whose event time is more than an hour before their append, such as a "
        "backfill, which may wait.",
        {"freshness": FRESHNESS},
        _DELAYS,
    ),
    Metric(
        "cxstream_event_delay_seconds",
        "histogram",
        "seconds",
        "From the event time of an accepted touchpoint to its commit: includes the delay of its "
        "source, and the age of a backfill. Nothing pages on it.",
        {},
        _AGES,
    ),
    Metric(
        "cxstream_newest_event_timestamp_seconds",
        "gauge",
        "seconds",
        "Event time of the newest accepted touchpoint, Unix time; its age is time() minus this.",
        _PARTITION,
    ),
    Metric(
        "cxstream_commit_timestamp_seconds",
        "gauge",
        "seconds",
        "When the last transaction was committed, Unix time.",
        _PARTITION,
    ),
)

LAG = (
    Metric(
        "kafka_consumergroup_lag",
        "gauge",
        "records",
        "Records in the partition that the group has not committed, with the name that kafka_exporter "
        "uses; of owned partitions.",
        _GROUP,
    ),
    Metric(
        "kafka_consumergroup_current_offset",
        "gauge",
        "offset",
        "Offset that the group has committed.",
        _GROUP,
    ),
    Metric(
        "kafka_topic_partition_current_offset",
        "gauge",
        "offset",
        "Offset after the last record of the partition.",
        _TOPIC,
    ),
    Metric(
        "kafka_topic_partition_oldest_offset",
        "gauge",
        "offset",
        "Offset of the oldest record that the partition still holds.",
        _TOPIC,
    ),
    Metric(
        "cxstream_kafka_answer_timestamp_seconds",
        "gauge",
        "seconds",
        "When Kafka last returned the first and last offsets of the partitions, Unix time; asked "
        "every 10 s. Before the first answer, the start of the worker.",
    ),
    Metric(
        "kafka_topic_partitions",
        "gauge",
        "partitions",
        "Partitions that the topic has.",
        {"topic": ("cx.touchpoints",)},
    ),
)

WORK = (
    Metric("cxstream_batch_records", "histogram", "records", "Records applied at a time.", {}, _SIZES),
    Metric(
        "cxstream_decode_seconds",
        "histogram",
        "seconds",
        "Time to decode and check a batch.",
        {},
        _WORK,
    ),
    Metric(
        "cxstream_kernel_seconds",
        "histogram",
        "seconds",
        "Time to score a batch: kernels, and serialising its signals.",
        {},
        _WORK,
    ),
    Metric("cxstream_flush_records", "histogram", "records", "Records committed at a time.", {}, _SIZES),
    Metric(
        "cxstream_flush_seconds",
        "histogram",
        "seconds",
        "Time of a flush, from closing its outbox (score cards and snapshot rows are taken then) to its commit.",
        {},
        _COMMITS,
    ),
    Metric(
        "cxstream_transaction_seconds",
        "histogram",
        "seconds",
        "Time of a Kafka transaction, from its begin to its commit.",
        {},
        _COMMITS,
    ),
    Metric(
        "cxstream_transactions_total",
        "counter",
        "transactions",
        "Transactions of results by outcome; the results of an aborted one are computed and sent again.",
        {**_PARTITION, "outcome": ("committed", "aborted")},
    ),
    Metric(
        "cxstream_snapshot_seconds",
        "histogram",
        "seconds",
        "Time to pack the changed rows of a snapshot.",
        {},
        _WORK,
    ),
    Metric("cxstream_snapshots_total", "counter", "snapshots", "Snapshots committed.", _PARTITION),
    Metric(
        "cxstream_snapshots_failed_total",
        "counter",
        "snapshots",
        "Snapshots whose own transaction failed, so that the partition started over.",
        _PARTITION,
    ),
    Metric("cxstream_snapshot_rows_total", "counter", "rows", "Total rows of the snapshots.", _PARTITION),
    Metric(
        "cxstream_snapshot_timestamp_seconds",
        "gauge",
        "seconds",
        "When the last snapshot was committed, Unix time.",
        _PARTITION,
    ),
    Metric(
        "cxstream_recovery_seconds",
        "histogram",
        "seconds",
        "From the claim of a partition until it runs: reading the snapshot, applying missed records.",
        {},
        _RECOVERIES,
    ),
    Metric(
        "cxstream_restores_total",
        "counter",
        "restores",
        "Number of times that a state was restored from Kafka.",
        _PARTITION,
    ),
    Metric(
        "cxstream_snapshots_refused_total",
        "counter",
        "snapshots",
        "Snapshots that were not used, so that the state was rebuilt from the log: damaged, forged (a "
        "checksum was not made with control.key), or other (other parameters or another layout).",
        {**_PARTITION, "reason": REFUSALS},
    ),
    Metric(
        "cxstream_replayed_records_total",
        "counter",
        "records",
        "Records replayed without output after a restore.",
        _PARTITION,
    ),
    Metric(
        "cxstream_followed_records_total",
        "counter",
        "records",
        "Records applied to a standby replica while another worker owned the partition.",
        _PARTITION,
    ),
)

PARTITION = (
    Metric(
        "cxstream_partition_state",
        "gauge",
        "0 or 1",
        "1 for the state that an owned partition is in, 0 for the others.",
        {**_PARTITION, "state": STATES},
    ),
    Metric(
        "cxstream_partition_stalled",
        "gauge",
        "0 or 1",
        "1 if an owned partition has had work for worker.stalled_seconds without progress; /readyz says why.",
        _PARTITION,
    ),
    Metric(
        "cxstream_partition_no_progress_offset",
        "gauge",
        "offset",
        "The offset at which an owned partition makes no progress, because it has failed there, "
        "cannot read it or is stalled. Without such a partition there is no series; /readyz says why.",
        _PARTITION,
    ),
    Metric(
        "cxstream_partition_unreadable",
        "gauge",
        "0 or 1",
        "1 if records that an owned partition needs cannot be fetched or decoded: damaged, or in an "
        "unknown format or codec. /readyz says which and why.",
        _READ,
    ),
    Metric(
        "cxstream_halted",
        "gauge",
        "0 or 1",
        "1 if the worker has stopped scoring, because partitions were added to cx.touchpoints while it ran.",
    ),
    Metric(
        "cxstream_partition_failures_total",
        "counter",
        "failures",
        "Number of times that a partition discarded its state and restarted.",
        _PARTITION,
    ),
    Metric(
        "cxstream_partition_fenced_total",
        "counter",
        "times",
        "Number of times that another worker claimed a partition of this worker.",
        _PARTITION,
    ),
    Metric("cxstream_waiting_fetches", "gauge", "fetches", "Fetches that wait to be applied.", _PARTITION),
    Metric(
        "cxstream_waiting_bytes",
        "gauge",
        "bytes",
        "Memory of fetched records that wait to be applied, or are being applied.",
        _PARTITION,
    ),
    Metric("cxstream_state_rows", "gauge", "rows", "Customers whose state is kept.", _PARTITION),
    Metric("cxstream_state_panes", "gauge", "panes", "Day panes in use.", _PARTITION),
    Metric(
        "cxstream_state_bytes", "gauge", "bytes", "Memory reserved for the state, with names.", _PARTITION
    ),
    Metric(
        "cxstream_ready",
        "gauge",
        "0 or 1",
        "1 if /readyz answers 200: all assigned partitions run and make progress.",
    ),
)

BUSINESS = (
    Metric(
        "cxstream_signals_total",
        "counter",
        "signals",
        "Signals committed: friction, or the change of a churn-risk signal. level is the customer's "
        "level from then on; none for friction and erased.",
        {"kind": SIGNALS, "level": LEVELS},
    ),
    Metric(
        "cxstream_raise_reasons_total",
        "counter",
        "signals",
        "Raised signals committed by their leading reason, to which the suggested action belongs.",
        {"reason": FEATURES},
    ),
    Metric("cxstream_held_back_total", "counter", "raises", "Raises that were suppressed by the cooldown."),
    Metric("cxstream_score_cards_total", "counter", "score cards", "Score cards committed."),
    Metric("cxstream_scored_rows_total", "counter", "rows", "Rows of cx.scored committed."),
    Metric(
        "cxstream_scored_bytes_total",
        "counter",
        "bytes",
        "Total size of the records of cx.scored committed, before Kafka's compression.",
    ),
    Metric(
        "cxstream_customers",
        "gauge",
        "customers",
        "Customers by risk level; set_aside: suspended, since they have churned.",
        {"level": STANDINGS},
    ),
    Metric(
        "cxstream_customer_effort",
        "gaugehistogram",
        "points, 0 to 100",
        "Effort score over customers, as of the last evaluation of each.",
        {},
        _SCORES,
    ),
    Metric(
        "cxstream_customer_satisfaction",
        "gaugehistogram",
        "points, 0 to 100",
        "Satisfaction score over customers, as of the last evaluation of each.",
        {},
        _SCORES,
    ),
    Metric(
        "cxstream_customer_churn_risk_ratio",
        "gaugehistogram",
        "ratio",
        "Churn risk (probability) over customers, as of the last evaluation of each.",
        {},
        _RISKS,
    ),
    Metric(
        "cxstream_nps_answers_total",
        "counter",
        "answers",
        "Accepted NPS answers: promoters answer 9 or 10, detractors 0 to 6.",
        {**_CHANNEL, "class": NPS},
    ),
    Metric(
        "cxstream_csat_score",
        "histogram",
        "points, 1 to 5",
        "Accepted CSAT answers; satisfied (top-box) is 4 or 5.",
        _CHANNEL,
        (1, 2, 3, 4, 5),
    ),
    Metric(
        "cxstream_ces_score",
        "histogram",
        "points, 1 to 7",
        "Accepted CES answers; 7 is the least effort.",
        _CHANNEL,
        (1, 2, 3, 4, 5, 6, 7),
    ),
    Metric(
        "cxstream_wait_seconds",
        "histogram",
        "seconds",
        "Waiting times of customers, from accepted contact and queue records that have them; more "
        "than a day counts as a day.",
        _CHANNEL,
        _WAITS,
    ),
    Metric(
        "cxstream_contacts_total",
        "counter",
        "contacts",
        "Accepted contacts by result.",
        {**_CHANNEL, "result": CONTACT_RESULTS},
    ),
)

PROCESS = (
    Metric("cxstream_ticker_interval_seconds", "gauge", "seconds", "Interval of ticks; 0 without a ticker."),
    Metric(
        "cxstream_ticker_round_timestamp_seconds",
        "gauge",
        "seconds",
        "When the ticker last went through the partitions, Unix time; before the first round, the "
        "start of the worker; 0 without a ticker.",
    ),
    Metric("cxstream_ticks_written_total", "counter", "ticks", "Ticks written."),
    Metric("cxstream_tick_failures_total", "counter", "ticks", "Ticks that Kafka refused."),
    Metric(
        "cxstream_build_info",
        "info",
        "1",
        "Versions of the running worker.",
        {"version": "one a process", "python": "one a process", "faust": "one a process"},
    ),
    Metric(
        "cxstream_memory_budget_bytes",
        "gauge",
        "bytes",
        "Memory limit of the worker (worker.memory_mib), and its shares: the process at start, "
        "fetched records that wait, customers.",
        {"share": BUDGET},
    ),
    Metric(
        "cxstream_settings_info",
        "info",
        "1",
        "The rules that the worker's settings say, by name and digest; workers of one group should agree. They are in "
        "force in partitions whose log has no rules.",
        {"rules": "one a process"},
    ),
    Metric(
        "cxstream_rules_in_force",
        "gauge",
        "1",
        "1: these rules are in force in the partition. All partitions should have the same.",
        {**_PARTITION, "rules": RULES},
    ),
    Metric(
        "cxstream_rules_differ",
        "gauge",
        "0 or 1",
        "1: the log has rules for the partition, and the worker's settings say others, which have no effect.",
        _PARTITION,
    ),
    Metric(
        "faust_messages_received_total",
        "counter",
        "messages",
        "Messages that Faust's consumer received; one is a whole fetch of a partition.",
    ),
    Metric("faust_rebalances_total", "counter", "rebalances", "Rebalances of the group."),
    Metric(
        "faust_rebalance_seconds",
        "histogram",
        "seconds",
        "Time of a rebalance, from the revocation until processing continues.",
        {},
        _COMMITS,
    ),
    Metric(
        "faust_web_responses_total",
        "counter",
        "responses",
        "Responses of the web server.",
        {"status": "HTTP status codes"},
    ),
)

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*RECORDS, *DELAYS, *LAG, *WORK, *PARTITION, *BUSINESS, *PROCESS)
}
GROUPS: dict[str, tuple[Metric, ...]] = {
    "Records": RECORDS,
    "Delay": DELAYS,
    "Consumer lag": LAG,
    "Work": WORK,
    "Partitions and state": PARTITION,
    "Customers": BUSINESS,
    "Process": PROCESS,
}
