-- # visits
-- Visits of a place as the alerts count them, and the bad ones: one customer within half an hour, or one waiting time or answer.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `visits`, `customers` | | in the window, and distinct customers |
-- | `bad`, `bad_customers` | | visits that are bad by the option `measure`, and distinct customers of these |
-- | `share`, `share_low`, `share_high` | 0..1 | `bad` / `visits` and its Wilson interval |
--
-- ## Options
-- - measure: failure, effort, wait, nps: when a visit is bad, as in docs/insights.md
-- - hard_points: 4, NUMBER: effort points from which a visit is a hard one
-- - long_wait_s: 60, NUMBER: seconds beyond which a waiting time is long
--
-- ## Behind
-- - customers: is_bad
-- - visits: true
-- - bad: is_bad
WITH touched AS (
    SELECT
        *,
        {option measure} IN ('wait', 'nps') AS is_each,
        CASE {option measure} WHEN 'wait' THEN wait_s IS NOT NULL WHEN 'nps' THEN kind = 'survey_nps' ELSE true END AS is_counted
    FROM {selected}
    -- Later ones are not watched.
    WHERE (epoch_ms(time) + behind_ms) // 60000 - epoch_ms(time) // 60000 <= 2
),
visits AS (
    SELECT
        {by}
        customer_id,
        min(time) AS time,
        CASE {option measure}
            WHEN 'failure' THEN
                bool_or(failed OR rage_click OR coalesce(abandoned, false) OR NOT coalesce(resolved, true))
            WHEN 'effort' THEN sum(round(effort::DOUBLE * 1e6)::BIGINT) >= {option hard_points} * 1000000
            WHEN 'wait' THEN bool_or(wait_s > {option long_wait_s})
            ELSE bool_or(score <= 6)
        END AS is_bad
    FROM touched
    WHERE is_counted
    GROUP BY
        {by} customer_id, CASE WHEN is_each THEN "partition" END, CASE WHEN is_each THEN "offset" END,
        CASE WHEN NOT is_each THEN epoch_ms(time) // 1800000 END
)
-- result of visits
SELECT
    {by}
    count(*) AS visits, count(DISTINCT customer_id) AS customers, count(*) FILTER ({bad}) AS bad,
    count(DISTINCT customer_id) FILTER ({bad}) AS bad_customers,
    count(*) FILTER ({bad}) / count(*) AS share,
    wilson_low(count(*) FILTER ({bad}), count(*)) AS share_low,
    wilson_high(count(*) FILTER ({bad}), count(*)) AS share_high
FROM visits
{group}
ORDER BY {order} bad DESC, visits DESC {then_by}
