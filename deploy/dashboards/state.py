"""Kafka and state: partitions, offsets, transactions, and what is kept of the customers."""

from __future__ import annotations

from board import GREEN, RED, YELLOW, Board, Panel, Query, Row
from promql import LATELY, OURS, PER_SECOND, increase, quantile, quantiles, rate, standing

EACH = "max by (partition)"
RECENT = "30m"


def _by_partition(series: str) -> Query:
    return Query(f"{EACH} ({series})", "{{partition}}")


KAFKA = Row(
    "Kafka",
    (
        Panel(
            "Partitions",
            "Partitions that cx.touchpoints has, those that a worker owns, and those that run.",
            (
                Query(f"max(kafka_topic_partitions{OURS})", "there are"),
                Query("count(count by (partition) (cxstream_partition_state))", "owned"),
                Query('sum(max by (partition) (cxstream_partition_state{state="running"}))', "run"),
            ),
            kind="number",
            width=6,
            alerts=("CxstreamPartitionUnowned", "CxstreamPartitionNotRunning"),
        ),
        Panel(
            "Lag, by partition",
            "Records that the group has not committed. A partition far above the others is stuck, or has too much traffic.",
            (_by_partition(f"kafka_consumergroup_lag{OURS}"),),
            low=0,
            width=9,
            alerts=("CxstreamLagGrows", "CxstreamStalled"),
        ),
        Panel(
            "Appended and committed a second",
            "Offsets appended and committed. Transaction markers count, too: each takes an offset.",
            (
                Query(
                    f"sum({EACH} (deriv(kafka_topic_partition_current_offset{OURS}[{LATELY}])))", "appended"
                ),
                Query(
                    f"sum({EACH} (deriv(kafka_consumergroup_current_offset{OURS}[{LATELY}])))", "committed"
                ),
            ),
            unit=PER_SECOND,
            width=9,
            alerts=("CxstreamLagGrows",),
        ),
        Panel(
            "Distance to the oldest record in Kafka",
            "Records between the oldest one in Kafka and the next one to read. At zero, records are lost.",
            (
                Query(
                    f"{EACH} (kafka_consumergroup_current_offset{OURS})"
                    f" - {EACH} (kafka_topic_partition_oldest_offset{OURS})",
                    "{{partition}}",
                ),
            ),
            alerts=("CxstreamRecordsLost",),
        ),
        Panel(
            "Age of Kafka's last answer",
            "Workers ask every 10 s where the partitions begin and end.",
            (Query("time() - cxstream_kafka_answer_timestamp_seconds", "{{instance}}"),),
            unit="s",
            low=0,
            steps=((0, GREEN), (120, RED)),
            alerts=("CxstreamKafkaUnreachable",),
        ),
        Panel(
            "Rebalances, last 30 minutes",
            "Rebalances of the group, as seen by each worker. A rollout causes two for each worker.",
            (Query(f"increase(faust_rebalances_total[{RECENT}])", "{{instance}}"),),
            low=0,
            alerts=("CxstreamRebalancesOften",),
        ),
    ),
)

TRANSACTIONS = Row(
    "Transactions",
    (
        Panel(
            "Transactions a second, by end",
            "An aborted one is computed and tried again.",
            (Query(rate("cxstream_transactions_total", "outcome"), "{{outcome}}"),),
            unit=PER_SECOND,
            low=0,
            alerts=("CxstreamTransactionsAbort",),
        ),
        Panel(
            "Time of a transaction",
            "From its begin to its commit.",
            quantiles("cxstream_transaction_seconds"),
            unit="s",
            low=0,
        ),
        Panel(
            "Aborted, last 15 minutes",
            "Share of the transactions that were aborted.",
            (Query("cxstream:transactions_aborted:ratio15m", "aborted"),),
            unit="percentunit",
            low=0,
            steps=((0, GREEN), (0.1, RED)),
            alerts=("CxstreamTransactionsAbort",),
        ),
    ),
)

PARTITIONS = Row(
    "Partitions",
    (
        Panel(
            "Partitions by state",
            "Claiming, restoring and fenced are temporary; for a partition that stays there or fails, /readyz has the reason.",
            (Query("sum by (state) (max by (partition, state) (cxstream_partition_state))", "{{state}}"),),
            stacked=True,
            low=0,
            alerts=("CxstreamPartitionNotRunning", "CxstreamRecoverySlow"),
        ),
        Panel(
            "Stalled and unreadable partitions",
            "Partitions with work that make no progress; also those that have been restoring for long, which alone is no alert. "
            "Unreadable: records cannot be fetched or decoded. Halted: workers that have stopped scoring "
            "because partitions were added to cx.touchpoints. Stuck: partitions without progress at an offset, "
            "from the first failure there on.",
            (
                Query(f"sum({EACH} (cxstream_partition_stalled))", "stalled"),
                Query("sum(max by (topic, partition) (cxstream_partition_unreadable))", "unreadable"),
                Query("sum(cxstream_halted)", "halted workers"),
                Query(f"count({EACH} (cxstream_partition_no_progress_offset)) or vector(0)", "stuck"),
            ),
            low=0,
            steps=((0, GREEN), (1, RED)),
            alerts=("CxstreamStalled", "CxstreamPartitionUnreadable"),
        ),
        Panel(
            "Trouble, last 30 minutes",
            "Restarts of partitions, claims by other workers, records that were deleted before they "
            "were read, snapshots that Kafka did not take, and those that were not used: damaged, or forged.",
            (
                Query(increase("cxstream_partition_failures_total", window=RECENT), "started over"),
                Query(increase("cxstream_partition_fenced_total", window=RECENT), "claimed by another"),
                Query(increase("cxstream_lost_records_total", window=RECENT), "lost records"),
                Query(increase("cxstream_snapshots_failed_total", window=RECENT), "failed snapshots"),
                Query(increase("cxstream_snapshots_refused_total", window=RECENT), "refused snapshots"),
            ),
            low=0,
            alerts=(
                "CxstreamPartitionFails",
                "CxstreamFenced",
                "CxstreamRecordsLost",
                "CxstreamSnapshotDamaged",
                "CxstreamSnapshotForged",
            ),
        ),
        Panel(
            "Fetches that wait, by partition",
            "Read from Kafka and not applied yet.",
            (_by_partition("cxstream_waiting_fetches"),),
            low=0,
        ),
        Panel(
            "Memory of fetched records, by partition",
            "Of fetches that wait or are being applied. Their total stays within its share of the memory budget.",
            (_by_partition("cxstream_waiting_bytes"),),
            unit="bytes",
            stacked=True,
            low=0,
        ),
        Panel(
            "Last commit, age by partition",
            "Ticks are committed too, so this stays short even without events.",
            (Query(f"time() - {EACH} (cxstream_commit_timestamp_seconds)", "{{partition}}"),),
            unit="s",
            low=0,
            alerts=("CxstreamStalled",),
        ),
        Panel(
            "Messages received and web answers a second",
            "What Faust received (one message is a whole fetch), and what the web server answered, by status.",
            (
                Query(rate("faust_messages_received_total"), "fetches"),
                Query(rate("faust_web_responses_total", "status"), "HTTP {{status}}"),
            ),
            unit=PER_SECOND,
            low=0,
        ),
    ),
)

STATE = Row(
    "State",
    (
        Panel(
            "Customers, by partition",
            "Customers in the state. Partitions should have similar numbers.",
            (_by_partition("cxstream_state_rows"),),
            stacked=True,
            low=0,
        ),
        Panel(
            "Day panes, by partition",
            "A pane is a day of a customer with events.",
            (_by_partition("cxstream_state_panes"),),
            stacked=True,
            low=0,
        ),
        Panel(
            "Memory of the state, by partition",
            "Reserved memory, with names; it grows in steps.",
            (_by_partition("cxstream_state_bytes"),),
            unit="bytes",
            stacked=True,
            low=0,
        ),
    ),
)

SNAPSHOTS = Row(
    "Snapshots and recovery",
    (
        Panel(
            "Age of the last snapshot, by partition",
            "Later records have to be applied again after a crash.",
            (Query(f"time() - {EACH} (cxstream_snapshot_timestamp_seconds)", "{{partition}}"),),
            unit="s",
            low=0,
            alerts=("CxstreamSnapshotOld",),
        ),
        Panel(
            "Rows of a snapshot",
            "Mean number of changed rows, since the workers started.",
            (
                Query(
                    "sum(cxstream_snapshot_rows_total) / (sum(cxstream_snapshots_total) > 0)",
                    "rows",
                ),
            ),
            low=0,
        ),
        Panel(
            "Time to pack a snapshot, 95 %",
            "The worker does nothing else in the meantime.",
            (Query(quantile(0.95, "cxstream_snapshot_seconds"), "95 %"),),
            unit="s",
            low=0,
        ),
        Panel(
            "Recovery, since the workers started",
            "From the claim of a partition to its running.",
            (
                Query(standing(0.5, "cxstream_recovery_seconds"), "median"),
                Query(standing(0.95, "cxstream_recovery_seconds"), "95 %"),
            ),
            unit="s",
            kind="number",
            height=6,
            steps=((0, GREEN), (60, YELLOW), (300, RED)),
            alerts=("CxstreamRecoverySlow",),
        ),
        Panel(
            "Rebalance, since the workers started",
            "Mean time from the revocation until processing continues.",
            (Query("sum(faust_rebalance_seconds_sum) / (sum(faust_rebalance_seconds_count) > 0)", "mean"),),
            unit="s",
            kind="number",
            height=6,
            steps=((0, GREEN), (10, YELLOW)),
            alerts=("CxstreamRebalancesOften",),
        ),
        Panel(
            "Restores, since the workers started",
            "States restored from Kafka, records applied again for that, and records applied to standby replicas.",
            (
                Query("sum(cxstream_restores_total)", "restores"),
                Query("sum(cxstream_replayed_records_total)", "applied again"),
                Query("sum(cxstream_followed_records_total)", "followed"),
            ),
            kind="number",
            height=6,
        ),
    ),
)

TIME = Row(
    "Ticks and versions",
    (
        Panel(
            "Age of the ticker's last round",
            "In rounds: far above one, time does not pass without events. Workers without a ticker are left out.",
            (
                Query(
                    "(time() - (cxstream_ticker_round_timestamp_seconds > 0)) / (cxstream_ticker_interval_seconds > 0)",
                    "{{instance}}",
                ),
            ),
            low=0,
            alerts=("CxstreamTickerSilent",),
        ),
        Panel(
            "Ticks a minute",
            "Written, and refused by Kafka.",
            (
                Query(f"60 * {rate('cxstream_ticks_written_total')}", "written"),
                Query(f"60 * {rate('cxstream_tick_failures_total')}", "failed"),
            ),
            low=0,
            alerts=("CxstreamTickerSilent",),
        ),
        Panel(
            "What runs",
            "Workers by version and by the rules of their settings, and partitions by the rules in force: one line each.",
            (
                Query("count by (version, python, faust) (cxstream_build_info)", "workers"),
                Query("count by (rules) (cxstream_settings_info)", "workers by settings"),
                Query("count by (rules) (cxstream_rules_in_force)", "partitions by rules"),
                Query("sum(cxstream_rules_differ)", "partitions whose rules differ from the settings"),
            ),
            kind="table",
            alerts=("CxstreamModelsDiffer",),
        ),
    ),
)

BOARD = Board(
    uid="cxstream-kafka-and-state",
    file="kafka-and-state.json",
    title="cxstream / Kafka and state",
    about="For operators: partitions, offsets, transactions, and the state of the customers.",
    rows=(KAFKA, TRANSACTIONS, PARTITIONS, STATE, SNAPSHOTS, TIME),
)
