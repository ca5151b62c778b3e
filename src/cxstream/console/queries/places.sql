-- # places
-- Effort and mood of a visit, with margins that take account of customers who visit several times.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `touchpoints`, `customers` | | in the window, and distinct customers |
-- | `effort`, `mood` | points | mean of a visit |
-- | `effort_margin`, `mood_margin` | points | half the 95% interval: the ratio estimator's, with a customer as the unit |
-- | `effort_share` | 0..1 | share of all effort in the selection |
-- | `satisfaction_after` | 0..100 | mean of the customers' satisfaction right after a visit |
-- | `failed_steps`, `repeat_contacts`, `channel_switches`, `rage_clicks` | touchpoints | with this |
-- | `waited`, `long_waits`, `unresolved`, `abandoned` | touchpoints | with a waiting time, over 10 minutes of it; not resolved; given up |
-- | `touchpoints_before`, `effort_before` | | of the period before |
-- | `effort_change`, `effort_change_margin`, `mood_change`, `mood_change_margin` | points | now less before |
--
-- ## Behind
-- - customers: true
-- - touchpoints: true
-- - failed_steps: failed
-- - repeat_contacts: repeat_contact
-- - channel_switches: channel_switch
-- - rage_clicks: rage_click OR kind = 'rage_click'
-- - long_waits: coalesce(wait_s > 600, false)
-- - unresolved: coalesce(NOT resolved, false)
-- - abandoned: coalesce(abandoned, false)
WITH visits AS (SELECT * FROM {selected and before})
-- result of visits
, people AS (
    SELECT
        {by}
        is_before,
        customer_id,
        count(*)::DOUBLE AS n,
        sum(effort::DOUBLE) AS effort,
        sum(mood::DOUBLE) AS mood,
        sum(satisfaction_after::DOUBLE) AS satisfaction,
        count(*) FILTER ({failed_steps}) AS failed_steps,
        count(*) FILTER ({repeat_contacts}) AS repeat_contacts,
        count(*) FILTER ({channel_switches}) AS channel_switches,
        count(*) FILTER ({rage_clicks}) AS rage_clicks,
        count(wait_s) AS waited,
        count(*) FILTER ({long_waits}) AS long_waits,
        count(*) FILTER ({unresolved}) AS unresolved,
        count(*) FILTER ({abandoned}) AS abandoned
    FROM visits
    GROUP BY ALL
),
sums AS (
    SELECT
        {by}
        is_before,
        count(*) AS customers,
        sum(n) AS n,
        sum(effort) / sum(n) AS effort,
        sum(mood) / sum(n) AS mood,
        sum(effort * effort) AS effort_squares, sum(effort * n) AS effort_products,
        sum(mood * mood) AS mood_squares, sum(mood * n) AS mood_products,
        sum(n * n) AS n_squares,
        sum(satisfaction) / sum(n) AS satisfaction_after,
        sum(failed_steps)::BIGINT AS failed_steps,
        sum(repeat_contacts)::BIGINT AS repeat_contacts,
        sum(channel_switches)::BIGINT AS channel_switches,
        sum(rage_clicks)::BIGINT AS rage_clicks,
        sum(waited)::BIGINT AS waited,
        sum(long_waits)::BIGINT AS long_waits,
        sum(unresolved)::BIGINT AS unresolved,
        sum(abandoned)::BIGINT AS abandoned
    FROM people
    GROUP BY ALL
)
-- shown
, errors AS (
    SELECT
        *,
        customers / nullif(customers - 1, 0) / (n * n)
        * greatest(0, effort_squares - 2 * effort * effort_products + effort * effort * n_squares) AS effort_variance,
        customers / nullif(customers - 1, 0) / (n * n)
        * greatest(0, mood_squares - 2 * mood * mood_products + mood * mood * n_squares) AS mood_variance
    FROM sums
),
compared AS (
    SELECT
        now.*,
        before.n AS n_before,
        before.effort AS effort_before,
        before.mood AS mood_before,
        before.effort_variance AS effort_variance_before,
        before.mood_variance AS mood_variance_before,
        now.n >= {few} AND before.n >= {few} AS is_comparable
    FROM errors AS now LEFT JOIN errors AS before ON {is_same}
    WHERE NOT now.is_before
)
SELECT
    {by}
    n::BIGINT AS touchpoints, customers,
    effort, 1.959963984540054 * sqrt(effort_variance) AS effort_margin,
    mood, 1.959963984540054 * sqrt(mood_variance) AS mood_margin,
    effort * n / nullif(sum(effort * n) OVER ({partition}), 0) AS effort_share,
    satisfaction_after, failed_steps, repeat_contacts, channel_switches, rage_clicks,
    waited, long_waits, unresolved, abandoned,
    n_before::BIGINT AS touchpoints_before, effort_before,
    CASE WHEN is_comparable THEN effort - effort_before END AS effort_change,
    CASE WHEN is_comparable THEN 1.959963984540054 * sqrt(effort_variance + effort_variance_before) END AS effort_change_margin,
    CASE WHEN is_comparable THEN mood - mood_before END AS mood_change,
    CASE WHEN is_comparable THEN 1.959963984540054 * sqrt(mood_variance + mood_variance_before) END AS mood_change_margin
FROM compared
ORDER BY {order} effort * n DESC, n DESC {then_by}
