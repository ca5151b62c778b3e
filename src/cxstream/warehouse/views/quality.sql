-- # quality
-- What the sources deliver: late and rejected records, delays and gaps.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `touchpoints`, `customers` | touchpoints, customers | accepted, and distinct customers of them |
-- | `late`, `late_share` | touchpoints, 0..1 | of a day before the clock's when they were accepted |
-- | `delay_median_s`, `delay_p95_s` | seconds | from event time to arrival in Kafka; empty for files |
-- | `first_time`, `last_time` | UTC | first and last event time |
-- | `longest_gap_s` | seconds | longest time between two touchpoints, one after the other by event time |
-- | `rejected` | records | rejected |
-- | `rejected_share` | 0..1 | `rejected` / (`rejected` + `touchpoints`) |
-- | `misrouted` | records | of `rejected`: in a wrong partition, and workers did not agree where they belong |
-- | `reasons` | text | rejected records by reason, the most frequent first |
--
-- ## Dimensions
-- - source
--
-- ## Caveats
-- - Rejected records are counted by day and have no customers behind them. With `--grain hour` they stand at midnight; records without a day that can be read are left out of windows and periods.
-- - The source of a record that cannot be decoded is not known: it is empty.
-- - A gap at night is no fault. Compare the same hours, or look for a source whose `last_time` is old.
-- - Most records in a wrong partition are forwarded and then accepted, so they are not rejected: the metric `cxstream_misrouted_total` counts them by source, and `cxstream doctor` names the sources.
-- - Duplicates change nothing, and no topic names them: the metric `cxstream_events_total` counts them (`outcome="duplicate"`), for files the summary of `cxstream replay`; `cxstream validate` names them.
--
-- ## Behind
-- - customers: true
-- - touchpoints: true
-- - late: late
WITH accepted AS NOT MATERIALIZED (SELECT * FROM {selected})
-- result of accepted
-- The longest gap without sorting all touchpoints: gaps between minutes are exact, and gaps within a minute are bounded by
-- its seconds without a touchpoint, a bit each. Only minutes that could have a longer one are looked at.
, minutes AS (
    SELECT
        {by}
        date_trunc('minute', time) AS minute,
        count(*) AS touchpoints,
        min(time) AS first_time,
        max(time) AS last_time,
        bit_or(1::BIGINT << date_part('second', time)::INTEGER) AS seconds
    FROM accepted
    GROUP BY {by} minute
),
spans AS (
    SELECT
        {by}
        minute, touchpoints,
        epoch_ms(first_time) - epoch_ms(lag(last_time) OVER ({partition_by} ORDER BY minute)) AS gap_ms,
        list_max([len(run) FOR run IN string_split(trim(bin(seconds), '0'), '1')]) AS empty_seconds
    FROM minutes
),
bounded AS (
    SELECT *, max(greatest(gap_ms, 1000 * empty_seconds)) OVER ({partition_by}) AS least_ms FROM spans
),
within AS (
    SELECT {by} epoch_ms(time) - epoch_ms(lag(time) OVER (PARTITION BY {by} minute ORDER BY time)) AS gap_ms
    FROM (SELECT {by} time, date_trunc('minute', time) AS minute FROM accepted) SEMI JOIN (
        SELECT {by} minute FROM bounded WHERE touchpoints > 1 AND 1000 * (empty_seconds + 2) > least_ms
    ) USING ({by} minute)
),
longest AS (
    SELECT {by} max(gap_ms) / 1000 AS longest_gap_s
    FROM (SELECT {by} gap_ms FROM spans UNION ALL SELECT {by} gap_ms FROM within)
    {group}
),
good AS (
    SELECT
        {by}
        count(*) AS touchpoints,
        distinct_customers(customer_id) AS customers,
        count(*) FILTER ({late}) AS late,
        min(time) AS first_time,
        max(time) AS last_time
    FROM accepted
    {group}
),
-- Quantiles as quantile_cont has them, of values with their counts: most delays are few values.
delays AS (
    SELECT {by} epoch_ms(arrived) - epoch_ms(time) AS delay_ms, count(*) AS touchpoints
    FROM accepted WHERE arrived IS NOT NULL
    GROUP BY {by} delay_ms
),
ranked AS (
    SELECT
        {by}
        delay_ms,
        sum(touchpoints) OVER ({partition_by} ORDER BY delay_ms) AS through,
        sum(touchpoints) OVER ({partition_by}) - 1 AS last
    FROM delays
),
between_two AS (
    SELECT
        {by}
        min(delay_ms) FILTER (through > floor(last * 0.5)) / 1000 AS median_low,
        min(delay_ms) FILTER (through > ceil(last * 0.5)) / 1000 AS median_high,
        min(delay_ms) FILTER (through > floor(last * 0.95)) / 1000 AS p95_low,
        min(delay_ms) FILTER (through > ceil(last * 0.95)) / 1000 AS p95_high,
        any_value(last) AS last
    FROM ranked
    {group}
),
delayed AS (
    SELECT
        {by}
        median_low + (median_high - median_low) * (last * 0.5 - floor(last * 0.5)) AS delay_median_s,
        p95_low + (p95_high - p95_low) * (last * 0.95 - floor(last * 0.95)) AS delay_p95_s
    FROM between_two
)
-- shown
, refused AS (
    SELECT {by} reason, sum(records)::BIGINT AS records
    FROM (
        SELECT *, {period} AS period FROM (SELECT day::TIMESTAMP AS time, source, reason, records FROM rejected)
        WHERE {where}
    )
    GROUP BY {by} reason
    HAVING sum(records) > 0
),
bad AS (
    SELECT
        {by}
        sum(records)::BIGINT AS rejected,
        coalesce(sum(records) FILTER (reason = 'misrouted'), 0)::BIGINT AS misrouted,
        string_agg(reason || ' ' || records, ', ' ORDER BY records DESC, reason) AS reasons
    FROM refused
    {group}
),
parts AS (
    SELECT {by} touchpoints, customers, late, first_time, last_time FROM good
    UNION ALL BY NAME SELECT {by} longest_gap_s FROM longest
    UNION ALL BY NAME SELECT {by} delay_median_s, delay_p95_s FROM delayed
    UNION ALL BY NAME SELECT {by} rejected, misrouted, reasons FROM bad
),
joined AS (
    SELECT
        {by}
        coalesce(max(touchpoints), 0) AS touchpoints,
        coalesce(max(customers), 0) AS customers,
        coalesce(max(late), 0) AS late,
        max(delay_median_s) AS delay_median_s,
        max(delay_p95_s) AS delay_p95_s,
        max(first_time) AS first_time,
        max(last_time) AS last_time,
        max(longest_gap_s) AS longest_gap_s,
        coalesce(max(rejected), 0) AS rejected,
        coalesce(max(misrouted), 0) AS misrouted,
        max(reasons) AS reasons
    FROM parts
    {group}
)
SELECT
    {by}
    touchpoints, customers, late, late / nullif(touchpoints, 0) AS late_share,
    delay_median_s, delay_p95_s,
    first_time, last_time, longest_gap_s,
    rejected, rejected / nullif(rejected + touchpoints, 0) AS rejected_share, misrouted, reasons
FROM joined
ORDER BY {order} rejected DESC, touchpoints DESC {then_by}
