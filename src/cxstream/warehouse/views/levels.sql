-- # levels
-- Customers by risk level over time: how many are at each level when a period ends, who came and went, and how fast they recover.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `at_level` | text | the level of the customer's last churn-risk signal |
-- | `customers` | customers | at this level when the period ends; without `--grain`, at the end of the window |
-- | `value_at_risk` | base currency | sum of theirs, by that signal: what they are expected to bring, times their churn risk; empty without a [value model](scoring.md#customer-value) |
-- | `entered` | signals | of the period, to this level |
-- | `left_it` | signals | of the period, from this level |
-- | `risen` | signals | of `entered`: raised or worsened, and the next days, by the option `within`, have passed at the end of the data |
-- | `eased`, `eased_share`, `eased_low`, `eased_high` | signals, 0..1 | of these, followed by a signal that is eased or cleared in these days, and the Wilson interval |
-- | `cleared`, `cleared_share`, `cleared_low`, `cleared_high` | signals, 0..1 | of these, followed by a signal that is cleared in these days, and the Wilson interval |
-- | `too_few` | text | shares that are not shown, since fewer signals than `--few` have `risen` |
--
-- ## Options
-- - within: 30, NUMBER: days in which it is looked whether the risk eased
--
-- ## Keys
-- - at_level: the level
--
-- ## Caveats
-- - It follows from signals alone, so it is what the CRM was told: exact at every moment, also in the past. Customers without a signal have never been above level none, and are not counted; level none has those who came back to it.
-- - `--by` and `--where` are about the touchpoint that caused the signal which set the level (for `left_it`, the signal that ended it). Signals that a new day caused have none: their values are empty.
-- - A period that is not over ends with the window or the data. Periods before the first signal have no rows.
-- - Signals that retention has deleted count no more: a customer whose last signal is gone is not counted.
--
-- ## Behind
-- - customers: what = 'state'
-- - entered: what = 'entry'
-- - left_it: what = 'exit'
-- - risen: what = 'entry' AND is_up AND is_past
-- - eased: what = 'entry' AND is_up AND is_past AND has_eased
-- - cleared: what = 'entry' AND is_up AND is_past AND has_cleared
WITH told AS (
    SELECT
        signals.customer_id,
        signals.time,
        signals.change,
        signals.previous,
        signals.level AS new_level,
        signals.value_at_risk,
        cause.channel,
        cause.touchpoint,
        cause.stage,
        cause.product,
        cause.location,
        cause.agent,
        {team cause}
        cause.segment,
        cause.campaign,
        cause.topic,
        cause.kind,
        cause.source,
        cause.level_after AS level,
        lead(signals.time) OVER customer_order AS ends,
        min(signals.time) FILTER (signals.change IN ('eased', 'cleared')) OVER later AS eased_at,
        min(signals.time) FILTER (signals.change = 'cleared') OVER later AS cleared_at
    FROM signals LEFT JOIN {causes} AS cause
        ON cause."partition" = signals."partition" AND cause."offset" = signals."offset"
        AND cause.customer_id = signals.customer_id
    WINDOW
        customer_order AS (
            PARTITION BY signals.customer_id ORDER BY signals.time, signals."partition", signals."offset", signals.n
        ),
        later AS (
            PARTITION BY signals.customer_id ORDER BY signals.time, signals."partition", signals."offset", signals.n
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        )
),
ending AS (
    SELECT max(time) AS last_time FROM (SELECT time FROM touchpoints UNION ALL SELECT time FROM signals)
),
bounds AS (
    SELECT
        greatest(min(time), {since}) AS start,
        least(any_value(last_time) + INTERVAL 1 MILLISECOND, {until}) AS stop
    FROM told CROSS JOIN ending
),
chosen AS (
    SELECT
        * EXCLUDE (eased_at, cleared_at),
        change IN ('raised', 'worsened') AS is_up,
        epoch_ms(last_time) - epoch_ms(time) >= {option within} * 86400000 AS is_past,
        coalesce(epoch_ms(eased_at) - epoch_ms(time) <= {option within} * 86400000, false) AS has_eased,
        coalesce(epoch_ms(cleared_at) - epoch_ms(time) <= {option within} * 86400000, false) AS has_cleared
    FROM told CROSS JOIN ending
    WHERE {filtered}
),
moves AS (
    SELECT *, {period} AS period FROM chosen WHERE {where}
),
people AS (
    SELECT chosen.* EXCLUDE (new_level), new_level AS at_level, 'state' AS what, buckets.period
    FROM chosen JOIN {buckets bounds} AS buckets
        ON chosen.time < buckets.closing AND coalesce(chosen.ends, 'infinity'::TIMESTAMP) >= buckets.closing
    UNION ALL BY NAME
    SELECT * EXCLUDE (new_level), new_level AS at_level, 'entry' AS what FROM moves
    UNION ALL BY NAME
    SELECT * EXCLUDE (new_level), previous AS at_level, 'exit' AS what FROM moves
)
-- result of people
, counts AS (
    SELECT
        {by}
        at_level,
        count(*) FILTER ({customers}) AS customers,
        sum(round(value_at_risk * 1e6)::HUGEINT) FILTER ({customers}) / 1e6 AS value_at_risk,
        count(*) FILTER ({entered}) AS entered,
        count(*) FILTER ({left_it}) AS left_it,
        count(*) FILTER ({risen}) AS risen,
        count(*) FILTER ({eased}) AS eased,
        count(*) FILTER ({cleared}) AS cleared
    FROM people
    GROUP BY {by} at_level
),
bases AS (
    SELECT *, CASE WHEN risen >= {few} THEN nullif(risen, 0) END AS n FROM counts
)
SELECT
    {by}
    at_level, customers, value_at_risk, entered, left_it, risen,
    eased, eased / n AS eased_share, wilson_low(eased, n) AS eased_low, wilson_high(eased, n) AS eased_high,
    cleared, cleared / n AS cleared_share, wilson_low(cleared, n) AS cleared_low, wilson_high(cleared, n) AS cleared_high,
    CASE WHEN risen BETWEEN 1 AND {few} - 1 THEN 'eased_share, cleared_share' END AS too_few
FROM bases
ORDER BY {order} list_position(['critical', 'high', 'elevated', 'none'], at_level) NULLS LAST, at_level {then_by}
