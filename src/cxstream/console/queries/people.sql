-- # people
-- How the customers of a period were when they came last in it.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `customers` | customers | with a touchpoint in the period |
-- | `effort`, `satisfaction` | 0..100 | mean of each customer's score right after their last touchpoint of the period |
-- | `effort_margin`, `satisfaction_margin` | 0..100 | half the 95% interval of the mean |
-- | `customers_before`, `effort_before`, `satisfaction_before` | | the same of the period before |
-- | `effort_change`, `effort_change_margin`, `satisfaction_change`, `satisfaction_change_margin` | | now less before |
--
-- ## Behind
-- - customers: true
WITH visits AS (SELECT * FROM {selected and before})
-- result of visits
, people AS (
    SELECT
        {by}
        is_before,
        customer_id,
        arg_max(effort_after::DOUBLE, (time, "partition", "offset")) AS effort,
        arg_max(satisfaction_after::DOUBLE, (time, "partition", "offset")) AS satisfaction
    FROM visits
    GROUP BY ALL
),
means AS (
    SELECT
        {by}
        is_before,
        count(*) AS customers,
        avg(effort) AS effort,
        var_samp(effort) / count(*) AS effort_variance,
        avg(satisfaction) AS satisfaction,
        var_samp(satisfaction) / count(*) AS satisfaction_variance
    FROM people
    GROUP BY ALL
)
-- shown
, compared AS (
    SELECT
        now.*,
        before.customers AS customers_before,
        before.effort AS effort_before,
        before.satisfaction AS satisfaction_before,
        before.effort_variance AS effort_variance_before,
        before.satisfaction_variance AS satisfaction_variance_before,
        least(now.customers, before.customers) >= {few} AS is_comparable
    FROM means AS now LEFT JOIN means AS before ON {is_same}
    WHERE NOT now.is_before
)
SELECT
    {by}
    customers,
    effort, 1.959963984540054 * sqrt(effort_variance) AS effort_margin,
    satisfaction, 1.959963984540054 * sqrt(satisfaction_variance) AS satisfaction_margin,
    customers_before, effort_before, satisfaction_before,
    CASE WHEN is_comparable THEN effort - effort_before END AS effort_change,
    CASE WHEN is_comparable THEN 1.959963984540054 * sqrt(effort_variance + effort_variance_before) END AS effort_change_margin,
    CASE WHEN is_comparable THEN satisfaction - satisfaction_before END AS satisfaction_change,
    CASE WHEN is_comparable
        THEN 1.959963984540054 * sqrt(satisfaction_variance + satisfaction_variance_before) END AS satisfaction_change_margin
FROM compared
ORDER BY {order} customers DESC {then_by}
