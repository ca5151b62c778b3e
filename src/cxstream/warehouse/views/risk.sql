-- # risk
-- Who is about to leave: churn-risk signals, their reasons, and what these customers did afterwards.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `previous`, `new_level` | text | the levels before and after: the transition |
-- | `signals`, `customers` | signals, customers | with this transition, and distinct customers |
-- | `raised`, `worsened`, `eased`, `cleared` | signals | by what the signal says |
-- | `entries`, `exits` | signals | from level none, and to it |
-- | `probability` | 0..1 | mean churn risk when the signal was made |
-- | `effort`, `satisfaction` | 0..100 | mean scores then |
-- | `value_at_risk` | base currency | sum over the customers: what each is expected to bring, times their churn risk, by their last signal that has it |
-- | `valued` | signals | with a value at risk; none without a [value model](scoring.md#customer-value) |
-- | `leading_reason`, `leading_share` | text, 0..1 | the most frequent leading reason, and its share of the signals |
-- | `followed` | signals | whose next days, by the option `within`, have passed at the end of the data |
-- | `churned`, `churned_share`, `churned_low`, `churned_high` | signals, 0..1 | of these, followed by `churned`, and the Wilson interval |
-- | `bought`, `bought_share`, `bought_low`, `bought_high` | signals, 0..1 | of these, followed by a purchase, and the Wilson interval |
-- | `acted` | signals | of these, followed by `action_taken` for this signal or without one |
-- | `too_few` | text | shares that are not shown, since fewer signals than `--few` are `followed` |
--
-- ## Options
-- - within: 30, NUMBER: days in which it is looked what the customer did
-- - sort: signals, value: what comes first: the most signals, or the most value at risk
--
-- ## Keys
-- - previous: the level before
-- - new_level: the level after
--
-- ## Caveats
-- - `--by` and `--where` are about the touchpoint that caused the signal. Signals that a new day caused have none: their values are empty, and `level` too.
-- - One customer can have several signals: the intervals treat them as independent, and are too narrow.
-- - What follows a signal is no proof of what would have happened without it, nor that an action helped.
--
-- ## Behind
-- - customers: true
-- - signals: true
-- - raised: change = 'raised'
-- - worsened: change = 'worsened'
-- - eased: change = 'eased'
-- - cleared: change = 'cleared'
-- - entries: previous = 'none'
-- - exits: new_level = 'none'
-- - valued: value_at_risk IS NOT NULL
-- - followed: is_past
-- - churned: is_past AND has_churned
-- - bought: is_past AND has_bought
-- - acted: is_past AND was_acted_on
WITH ending AS (SELECT max(time) AS last_time FROM touchpoints),
told AS (
    SELECT
        signals.id AS signal,
        signals.customer_id,
        signals.time,
        signals.change,
        signals.previous,
        signals.level AS new_level,
        signals.probability,
        signals.effort,
        signals.satisfaction,
        signals.value_at_risk,
        signals."partition",
        signals."offset",
        signals.n,
        signals.leading_reason,
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
        cause.level_after AS level
    FROM signals LEFT JOIN touchpoints AS cause
        ON cause."partition" = signals."partition" AND cause."offset" = signals."offset"
        AND cause.customer_id = signals.customer_id
),
chosen AS (
    SELECT *, {period} AS period FROM told WHERE {where}
),
outcomes AS (
    SELECT customer_id, time, kind, action_id FROM touchpoints WHERE kind IN ('churned', 'purchase', 'action_taken')
),
after AS (
    SELECT
        signal,
        bool_or(outcomes.kind = 'churned') AS has_churned,
        bool_or(outcomes.kind = 'purchase') AS has_bought,
        bool_or(outcomes.kind = 'action_taken' AND (action_id IS NULL OR action_id = signal)) AS was_acted_on
    FROM chosen JOIN outcomes ON outcomes.customer_id = chosen.customer_id
        AND outcomes.time > chosen.time AND outcomes.time <= chosen.time + to_milliseconds(({option within} * 86400000)::BIGINT)
    GROUP BY signal
),
signalled AS (
    SELECT
        chosen.*,
        coalesce(has_churned, false) AS has_churned,
        coalesce(has_bought, false) AS has_bought,
        coalesce(was_acted_on, false) AS was_acted_on,
        coalesce(time + to_milliseconds(({option within} * 86400000)::BIGINT) <= last_time, false) AS is_past
    FROM chosen LEFT JOIN after USING (signal) CROSS JOIN ending
)
-- result of signalled
, ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY {by} previous, new_level, customer_id, value_at_risk IS NOT NULL
            ORDER BY time DESC, "partition" DESC, "offset" DESC, n DESC
        ) = 1 AS is_last
    FROM signalled
),
counts AS (
    SELECT
        {by}
        previous,
        new_level,
        count(*) AS signals,
        count(DISTINCT customer_id) AS customers,
        count(*) FILTER ({raised}) AS raised,
        count(*) FILTER ({worsened}) AS worsened,
        count(*) FILTER ({eased}) AS eased,
        count(*) FILTER ({cleared}) AS cleared,
        count(*) FILTER ({entries}) AS entries,
        count(*) FILTER ({exits}) AS exits,
        avg(probability) AS probability,
        avg(effort) AS effort,
        avg(satisfaction) AS satisfaction,
        sum(round(value_at_risk * 1e6)::HUGEINT) FILTER (is_last) / 1e6 AS value_at_risk,
        count(*) FILTER ({valued}) AS valued,
        histogram(leading_reason) AS reasons,
        count(*) FILTER ({followed}) AS followed,
        count(*) FILTER ({churned}) AS churned,
        count(*) FILTER ({bought}) AS bought,
        count(*) FILTER ({acted}) AS acted
    FROM ranked
    GROUP BY {by} previous, new_level
),
bases AS (
    SELECT
        *,
        list_sort([struct_pack(less := -pair.value::BIGINT, name := pair.key) FOR pair IN map_entries(reasons)])[1] AS top,
        CASE WHEN followed >= {few} THEN nullif(followed, 0) END AS n
    FROM counts
)
SELECT
    {by}
    previous, new_level, signals, customers, raised, worsened, eased, cleared, entries, exits,
    probability, effort, satisfaction, value_at_risk, valued,
    top.name AS leading_reason,
    -top.less::BIGINT / signals AS leading_share,
    followed,
    churned, churned / n AS churned_share, wilson_low(churned, n) AS churned_low, wilson_high(churned, n) AS churned_high,
    bought, bought / n AS bought_share, wilson_low(bought, n) AS bought_low, wilson_high(bought, n) AS bought_high,
    acted,
    CASE WHEN followed BETWEEN 1 AND {few} - 1 THEN 'churned_share, bought_share' END AS too_few
FROM bases
ORDER BY {order} CASE WHEN {option sort} = 'value' THEN value_at_risk END DESC NULLS LAST, signals DESC, previous, new_level {then_by}
