"""Pipeline: is everything scored, in time, and if not, where is the bottleneck?"""

from __future__ import annotations

from board import GREEN, RED, YELLOW, Board, Panel, Query, Row
from promql import LATELY, PER_SECOND, mean, quantile, quantiles, rate

LIVE = '{freshness="live"}'
SLOW = ("CxstreamDelayBudgetBurnsFast", "CxstreamDelayBudgetBurnsSlow")
MONTH = "[30d]"
FIRING = 'ALERTS{alertstate="firing", alertname=~"Cxstream.+"'

GLANCE = Row(
    "At a glance",
    (
        Panel(
            "Workers",
            "Workers that answer Prometheus, and those that are ready: all their partitions run and make progress.",
            (Query('sum(up{job="cxstream"})', "up"), Query("sum(cxstream_ready)", "ready")),
            kind="number",
            width=3,
            height=5,
            steps=((0, RED), (1, GREEN)),
            alerts=("CxstreamWorkerDown", "CxstreamAbsent"),
        ),
        Panel(
            "Delay of 99 in 100",
            "From append to Kafka to commit: 99 of 100 live touchpoints took at most this long. The objective is 5 s.",
            (Query(quantile(0.99, "cxstream_commit_delay_seconds", LIVE), "99 %"),),
            unit="s",
            kind="number",
            width=3,
            height=5,
            steps=((0, GREEN), (2.5, YELLOW), (5, RED)),
            alerts=SLOW,
        ),
        Panel(
            "Within 5 s, last hour",
            "Share of live touchpoints whose results were committed within 5 s of their append; the objective is 99 %.",
            (Query("1 - cxstream:commit_delay_slow:ratio1h", "in time"),),
            unit="percentunit",
            kind="number",
            width=3,
            height=5,
            steps=((0, RED), (0.99, GREEN)),
            alerts=SLOW,
            decimals=2,
        ),
        Panel(
            "Budget left, 30 days",
            "Of the one in a hundred live touchpoints that may be late, the share that is left. Below zero "
            "the objective is missed.",
            (
                Query(
                    f'1 - (1 - sum(increase(cxstream_commit_delay_seconds_bucket{{freshness="live", le="5.0"}}{MONTH}))'
                    f" / sum(increase(cxstream_commit_delay_seconds_count{LIVE}{MONTH}))) / 0.01",
                    "left",
                ),
            ),
            unit="percentunit",
            kind="number",
            width=3,
            height=5,
            steps=((0, RED), (0.01, YELLOW), (0.5, GREEN)),
            alerts=SLOW,
            decimals=0,
        ),
        Panel(
            "Lag",
            "Records that wait in Kafka, over all partitions.",
            (Query("cxstream:lag:records", "records"),),
            kind="number",
            width=3,
            height=5,
            steps=((0, GREEN), (10_000, YELLOW)),
            alerts=("CxstreamLagGrows",),
        ),
        Panel(
            "Age of the newest event",
            "Time since the newest accepted touchpoint: grows if sources stop sending or nothing is scored.",
            (Query("cxstream:newest_event_age:seconds", "age"),),
            unit="s",
            kind="number",
            width=3,
            height=5,
            steps=((0, GREEN), (900, YELLOW)),
            alerts=("CxstreamSourceSilent",),
        ),
        Panel(
            "Rejected, last 15 minutes",
            "Share of the records that could not be used; they are in cx.rejected with the reason.",
            (Query("cxstream:rejected:ratio15m", "rejected"),),
            unit="percentunit",
            kind="number",
            width=3,
            height=5,
            steps=((0, GREEN), (0.01, RED)),
            alerts=("CxstreamRejectsHigh",),
            decimals=2,
        ),
        Panel(
            "Alerts",
            "Alerts of cxstream that fire now, without the watchdog, which always fires. The table below names them.",
            (Query(f'count({FIRING}, alertname!="CxstreamWatchdog"}}) or vector(0)', "firing"),),
            kind="number",
            width=3,
            height=5,
            steps=((0, GREEN), (1, RED)),
        ),
    ),
)

FLOW = Row(
    "Flow",
    (
        Panel(
            "Records a second, by outcome",
            "Records that were read and committed. Late ones are too late to count; ticks let time pass without events.",
            (Query("cxstream:events:rate5m", "{{outcome}}"),),
            unit=PER_SECOND,
            stacked=True,
            low=0,
            alerts=("CxstreamStalled",),
        ),
        Panel(
            "Delay from append to commit, live",
            "Of records whose event time is at most an hour before their append. The red line is the objective for 99 %.",
            quantiles("cxstream_commit_delay_seconds", LIVE),
            unit="s",
            low=0,
            steps=((0, GREEN), (5, RED)),
            alerts=SLOW,
        ),
        Panel(
            "Lag over time",
            "Records that wait in Kafka, over all partitions; the dashboard Kafka and state has it by partition.",
            (Query("cxstream:lag:records", "records"),),
            low=0,
            steps=((0, GREEN), (10_000, YELLOW)),
            alerts=("CxstreamLagGrows",),
        ),
        Panel(
            "Delay of backfills",
            "The same for records whose event time is more than an hour before their append: these may wait.",
            quantiles("cxstream_commit_delay_seconds", '{freshness="history"}', (0.5, 0.99)),
            unit="s",
            low=0,
        ),
        Panel(
            "Age of events when committed",
            "From the event time to the commit, including the delay of the sources.",
            quantiles("cxstream_event_delay_seconds", of=(0.5, 0.95)),
            unit="s",
            low=0,
        ),
        Panel(
            "Signals a minute",
            "Friction, and changes of the churn risk.",
            (Query(f"60 * {rate('cxstream_signals_total', 'kind')}", "{{kind}}"),),
            low=0,
        ),
    ),
)

SOURCES = Row(
    "Sources and rejects",
    (
        Panel(
            "Records a second, by source",
            "Valid records of the ten busiest sources.",
            (Query(f"topk(10, {rate('cxstream_source_events_total', 'source')})", "{{source}}"),),
            unit=PER_SECOND,
            low=0,
            alerts=("CxstreamSourceSilent",),
        ),
        Panel(
            "Misrouted a second, by source",
            "Records in wrong partitions, which were forwarded: the source's producer needs murmur2.",
            (Query(rate("cxstream_misrouted_total", "source"), "{{source}}"),),
            unit=PER_SECOND,
            low=0,
            alerts=("CxstreamRecordsMisrouted",),
        ),
        Panel(
            "Unknown actions a second, by source",
            "Accepted actions and outcomes whose action_id is not a signal of the customer.",
            (Query(rate("cxstream_unknown_actions_total", "source"), "{{source}}"),),
            unit=PER_SECOND,
            low=0,
        ),
        Panel(
            "Amounts without a rate a second, by currency",
            "Purchases, returns and purchase histories whose amount is not in `spent`: scoring.rates has no rate for the currency.",
            (Query(rate("cxstream_unconverted_amounts_total", "currency"), "{{currency}}"),),
            unit=PER_SECOND,
            low=0,
        ),
        Panel(
            "Rejected a second, by reason",
            "Records written to cx.rejected.",
            (Query(rate("cxstream_rejected_total", "reason"), "{{reason}}"),),
            unit=PER_SECOND,
            stacked=True,
            low=0,
            alerts=("CxstreamRejectsHigh", "CxstreamRecordFailed", "CxstreamRecordsForged"),
        ),
        Panel(
            "Rejected share, by source, last 15 minutes",
            "Share of the records of each source, for the ten worst sources.",
            (Query("topk(10, cxstream:source_rejected:ratio15m)", "{{source}}"),),
            unit="percentunit",
            kind="bars",
            low=0,
            high=1,
            steps=((0, GREEN), (0.01, YELLOW), (0.1, RED)),
            alerts=("CxstreamSourceRejected",),
        ),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            "Time of a batch, 95 %",
            "To decode and check it, and to score it.",
            (
                Query(quantile(0.95, "cxstream_decode_seconds"), "decode"),
                Query(quantile(0.95, "cxstream_kernel_seconds"), "score"),
            ),
            unit="s",
            low=0,
            width=6,
        ),
        Panel(
            "Time of a flush, 95 %",
            "From closing the outbox to its commit, and the part of the Kafka transaction.",
            (
                Query(quantile(0.95, "cxstream_flush_seconds"), "flush"),
                Query(quantile(0.95, "cxstream_transaction_seconds"), "transaction"),
            ),
            unit="s",
            low=0,
            width=6,
        ),
        Panel(
            "Records at a time",
            "Mean size of a batch, and of a commit. Large numbers mean that many records were waiting.",
            (Query(mean("cxstream_batch_records"), "batch"), Query(mean("cxstream_flush_records"), "flush")),
            low=0,
            width=6,
        ),
        Panel(
            "Score cards and scored touchpoints a second",
            "Latest cards of customers who changed, written to cx.scores, and accepted touchpoints, written to cx.scored.",
            (
                Query(rate("cxstream_score_cards_total"), "score cards"),
                Query(rate("cxstream_scored_rows_total"), "scored touchpoints"),
            ),
            unit=PER_SECOND,
            low=0,
            width=6,
        ),
        Panel(
            "Share of the time at work",
            "Decoding, scoring and waiting for commits, by worker and task. Decoding and scoring share one thread: near "
            "100 % together, more workers are needed.",
            tuple(
                Query(f"rate(cxstream_{name}_seconds_sum[{LATELY}])", f"{task} {{{{instance}}}}")
                for name, task in (("decode", "decode"), ("kernel", "score"), ("flush", "flush"))
            ),
            unit="percentunit",
            low=0,
            width=6,
            alerts=("CxstreamLagGrows",),
        ),
        Panel(
            "CPU, by worker",
            "Cores in use.",
            (Query(f'rate(process_cpu_seconds_total{{job="cxstream"}}[{LATELY}])', "{{instance}}"),),
            low=0,
            width=6,
        ),
        Panel(
            "Size of cx.scored, bytes a second",
            "Records of cx.scored before Kafka compresses them.",
            (Query(rate("cxstream_scored_bytes_total"), "cx.scored"),),
            unit="bytes",
            low=0,
            width=6,
        ),
        Panel(
            "Memory, by worker",
            "Resident memory of each process, and its budget.",
            (
                Query('process_resident_memory_bytes{job="cxstream"}', "{{instance}}"),
                Query(
                    'cxstream_memory_budget_bytes{job="cxstream", share="total"}', "budget of {{instance}}"
                ),
            ),
            unit="bytes",
            low=0,
            width=6,
            alerts=("CxstreamMemoryShort",),
        ),
    ),
)

ALERTS = Row(
    "Alerts",
    (
        Panel(
            "Firing alerts",
            "Firing alerts with their labels. CxstreamWatchdog always fires: it shows that alerting works.",
            (
                Query(
                    f"sum by (alertname, severity, partition, source, channel, instance) ({FIRING}}})",
                    "firing",
                ),
            ),
            kind="table",
            width=24,
            height=7,
        ),
    ),
)

BOARD = Board(
    uid="cxstream-pipeline",
    file="pipeline.json",
    title="cxstream / Pipeline",
    about="For operators: is everything scored, in time, and if not, where is the bottleneck?",
    rows=(GLANCE, FLOW, SOURCES, WORK, ALERTS),
)
