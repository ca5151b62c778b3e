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
-- | `reasons` | text | rejected records by reason, the most frequent first |
--
-- ## Dimensions
-- - source
--
-- ## Caveats
-- - Rejected records are counted by day and have no customers behind them. With `--grain hour` they stand at midnight; records without a day that can be read are left out of windows and periods.
-- - The source of a record that cannot be decoded is not known: it is empty.
-- - A gap at night is no fault. Compare the same hours, or look for a source whose `last_time` is old.
-- - Duplicates change nothing and are not here; the metric `cxstream_duplicates_total` counts them.
--
-- ## Behind
-- - customers: true
-- - touchpoints: true
-- - late: late
WITH accepted AS (SELECT * FROM {selected})
-- result of accepted
, gaps AS (
    SELECT {by} epoch_ms(time) - epoch_ms(lag(time) OVER ({partition_by} ORDER BY time)) AS gap_ms FROM accepted
),
longest AS (SELECT {by} max(gap_ms) / 1000 AS longest_gap_s FROM gaps {group}),
good AS (
    SELECT
        {by}
        count(*) AS touchpoints,
        distinct_customers(customer_id) AS customers,
        count(*) FILTER ({late}) AS late,
        quantile_cont((epoch_ms(arrived) - epoch_ms(time)) / 1000, [0.5, 0.95]) AS delays,
        min(time) AS first_time,
        max(time) AS last_time
    FROM accepted
    {group}
),
refused AS (
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
        string_agg(reason || ' ' || records, ', ' ORDER BY records DESC, reason) AS reasons
    FROM refused
    {group}
),
parts AS (
    SELECT {by} touchpoints, customers, late, delays, first_time, last_time, NULL AS longest_gap_s, NULL AS rejected,
        NULL AS reasons
    FROM good
    UNION ALL BY NAME SELECT {by} longest_gap_s FROM longest
    UNION ALL BY NAME SELECT {by} rejected, reasons FROM bad
),
joined AS (
    SELECT
        {by}
        coalesce(max(touchpoints), 0) AS touchpoints,
        coalesce(max(customers), 0) AS customers,
        coalesce(max(late), 0) AS late,
        max(delays) AS delays,
        max(first_time) AS first_time,
        max(last_time) AS last_time,
        max(longest_gap_s) AS longest_gap_s,
        coalesce(max(rejected), 0) AS rejected,
        max(reasons) AS reasons
    FROM parts
    {group}
)
SELECT
    {by}
    touchpoints, customers, late, late / nullif(touchpoints, 0) AS late_share,
    delays[1] AS delay_median_s, delays[2] AS delay_p95_s,
    first_time, last_time, longest_gap_s,
    rejected, rejected / nullif(rejected + touchpoints, 0) AS rejected_share, reasons
FROM joined
ORDER BY {order} rejected DESC, touchpoints DESC {then_by}
