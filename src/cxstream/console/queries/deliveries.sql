-- # deliveries
-- What sources deliver, of whole days: the counts of the view quality, from the aggregates.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `touchpoints` | touchpoints | accepted |
-- | `late`, `late_share` | touchpoints, 0..1 | of a day before the clock's when they were accepted |
-- | `rejected`, `rejected_share` | records, 0..1 | rejected, and their share of both |
--
-- ## Dimensions
-- - source
--
-- ## Caveats
-- - A day counts as a whole if its start is in the window.
WITH counted AS (
    SELECT day::TIMESTAMP AS time, source, NULL AS reason, touchpoints, late, 0 AS records FROM daily
    UNION ALL SELECT day::TIMESTAMP, source, reason, 0, 0, records FROM rejected
)
-- result of counted
, of_reasons AS (
    SELECT {by} reason, sum(touchpoints) AS touchpoints, sum(late) AS late, sum(records) AS records
    FROM (SELECT *, {period} AS period FROM counted WHERE {where})
    GROUP BY {by} reason
    HAVING reason IS NULL OR sum(records) > 0
),
summed AS (
    SELECT {by} sum(touchpoints)::BIGINT AS touchpoints, sum(late)::BIGINT AS late, sum(records)::BIGINT AS rejected
    FROM of_reasons
    {group}
)
SELECT
    {by}
    touchpoints, late, late / nullif(touchpoints, 0) AS late_share,
    rejected, rejected / nullif(rejected + touchpoints, 0) AS rejected_share
FROM summed
WHERE touchpoints > 0 OR rejected > 0
ORDER BY {order} rejected DESC, touchpoints DESC {then_by}
