-- # forecast
-- Whether the churn risk said who would leave: customers by their risk some days before the end of the data, and who left since.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `part` | text | tenth of the customers by that risk, 01 the highest |
-- | `customers`, `left` | customers | all who had not left by then, and those with `churned` since |
-- | `expected` | 0..1 | mean of that risk |
-- | `left_share`, `left_low`, `left_high` | 0..1 | `left` / `customers`, and its Wilson interval |
--
-- ## Options
-- - days: 30, NUMBER: how long before the end of the data
--
-- ## Keys
-- - part: tenth by the risk
--
-- ## Dimensions
-- - segment, channel
--
-- ## Caveats
-- - Who was acted on may have stayed because of that: hold some out, and see the page Experiments.
--
-- ## Behind
-- - customers: true
-- - left: has_left
WITH ending AS (SELECT max(time) - to_milliseconds(({option days} * 86400000)::BIGINT) AS cut FROM touchpoints),
before AS (
    SELECT
        customer_id,
        arg_max(probability_after, (time, "offset")) AS probability,
        arg_max(segment, (time, "offset")) AS segment,
        arg_max(channel, (time, "offset")) AS channel,
        coalesce(arg_max(kind, (time, "offset")) FILTER (kind IN ('churned', 'won_back')) = 'churned', false) AS is_away,
        max(time) AS time
    FROM touchpoints, ending WHERE time <= cut
    GROUP BY customer_id
),
since AS (SELECT DISTINCT customer_id FROM touchpoints, ending WHERE kind = 'churned' AND time > cut),
forecast AS (
    SELECT
        * EXCLUDE (is_away),
        customer_id IN (SELECT customer_id FROM since) AS has_left,
        printf('%02d', ntile(10) OVER (ORDER BY probability DESC, customer_id)) AS part
    FROM before WHERE NOT is_away AND {filtered}
)
-- result of forecast
SELECT
    {by}
    part, count(*) AS customers, count(*) FILTER ({left}) AS left,
    avg(probability::DOUBLE) AS expected, count(*) FILTER ({left}) / count(*) AS left_share,
    wilson_low(count(*) FILTER ({left}), count(*)) AS left_low, wilson_high(count(*) FILTER ({left}), count(*)) AS left_high
FROM forecast
GROUP BY {by} part
ORDER BY part {then_by}
