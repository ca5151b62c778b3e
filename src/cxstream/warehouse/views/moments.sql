-- # moments
-- Moments of truth: the steps whose presence in a journey goes with more, or less, churn (or another end) than elsewhere.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `step` | text | the step |
-- | `journeys`, `customers` | journeys, customers | that have it |
-- | `hits` | journeys | of these, that end as the option `outcome` says |
-- | `risk`, `risk_low`, `risk_high` | 0..1 | `hits` / `journeys`, and its Wilson interval |
-- | `others`, `other_hits` | journeys | without it, and of these, that end so |
-- | `other_risk`, `other_low`, `other_high` | 0..1 | `other_hits` / `others`, and its Wilson interval |
-- | `difference`, `difference_low`, `difference_high` | -1..1 | `risk` - `other_risk`, and its interval of 95% (Newcombe) |
-- | `ratio`, `ratio_low`, `ratio_high` | factor | `risk` / `other_risk`, and its interval of 95% (Katz: normal on the logarithm) |
-- | `p_value` | 0..1 | of no difference: chi-square test of two shares, one degree of freedom, without correction |
-- | `p_adjusted` | 0..1 | the same for all steps at once (Benjamini and Hochberg): of the steps below 0.05, some 5% are chance |
-- | `too_few` | text | what is not shown, since fewer journeys than `--few` have the step, or have it not |
--
-- A journey ends in churn if it has a `churned` after its last purchase; else in a purchase if it has one; else in a complaint
-- if one was opened; else in silence. In a journey that ends as `outcome` says, only what came before that counts.
--
-- ## Options
-- - outcome: churn, purchase, complaint: the end that is looked for
-- - per: customer, session, case: what a journey is; touchpoints without a session or case are left out there
-- - within: 0, NUMBER: days after which the next touchpoint begins another journey; 0 is never
-- - place: touchpoint, stage, channel, kind: what a step is
--
-- ## Keys
-- - step: the step
--
-- ## Caveats
-- - This is no proof of a cause: who complains may have wanted to leave before. Only an experiment can tell.
-- - The intervals are for one step alone: of twenty steps without any effect, one is outside on average. `p_adjusted` allows for that.
-- - Journeys that end early have had less time for steps, so that a step which comes late looks harmless.
-- - Touchpoints that are the outcome themselves are no steps. Touchpoints without a value for the step (`place`) are none either, but end a journey.
-- - Filters choose touchpoints before they are joined to journeys; the window cuts journeys at both ends. With `--where` see that purchases and `churned` stay in.
-- - `--by` and `--grain` take the values of the first touchpoint of a journey.
-- - One customer can have several journeys (`within`, `per`): the intervals treat them as independent, and are too narrow.
--
-- ## Behind
-- - customers: step IS NOT NULL
-- - journeys: step IS NOT NULL
-- - hits: step IS NOT NULL AND is_hit
WITH visits AS NOT MATERIALIZED (
    SELECT *, {step} AS step FROM {selected}
    WHERE CASE {option per} WHEN 'customer' THEN true WHEN 'session' THEN session IS NOT NULL ELSE case_id IS NOT NULL END
),
steps AS NOT MATERIALIZED (
    SELECT
        {journey}, {by} time, "partition", "offset", step, kind,
        {time before} AS before_time,
        row_number() OVER (PARTITION BY {journey} ORDER BY time, "partition", "offset") AS number
    FROM visits
),
cut AS (SELECT *, {part} AS part FROM steps),
ends AS (
    SELECT
        {journey},
        part,
        {first_by}
        min(time) AS time,
        max(number) FILTER (kind = 'purchase') AS bought,
        max(number) FILTER (kind = 'churned') AS parted,
        max(number) FILTER (kind = 'complaint_opened') AS complained
    FROM cut
    GROUP BY {journey}, part
),
whole AS (
    SELECT
        * EXCLUDE (bought, parted, complained),
        CASE {option outcome}
            WHEN 'churn' THEN CASE WHEN parted > coalesce(bought, 0) THEN parted END
            WHEN 'purchase' THEN CASE WHEN bought IS NOT NULL AND (parted IS NULL OR parted < bought) THEN bought END
            ELSE CASE WHEN bought IS NULL AND parted IS NULL THEN complained END
        END AS last_number,
        last_number IS NOT NULL AS is_hit
    FROM ends
),
present AS (
    SELECT DISTINCT {journey}, part, {by} time, is_hit, step
    FROM (
        SELECT {journey}, part, number, step FROM cut
        WHERE step IS NOT NULL
            AND kind <> CASE {option outcome} WHEN 'churn' THEN 'churned' WHEN 'purchase' THEN 'purchase' ELSE 'complaint_opened' END
    )
    JOIN whole USING ({journey}, part)
    WHERE last_number IS NULL OR number < last_number
    -- A row without a step for each journey.
    UNION ALL
    SELECT {journey}, part, {by} time, is_hit, NULL FROM whole
)
-- result of present
, counts AS (
    SELECT
        {by}
        step,
        count(*) AS journeys,
        {journey_customers} AS customers,
        count(*) FILTER (is_hit) AS hits
    FROM present
    GROUP BY {by} step
)
-- shown
, bases AS (
    SELECT
        *,
        max(journeys) FILTER (step IS NULL) OVER ({partition_by}) - journeys AS others,
        max(hits) FILTER (step IS NULL) OVER ({partition_by}) - hits AS other_hits
    FROM counts
),
shares AS (
    SELECT
        *,
        CASE WHEN least(journeys, others) >= {few} THEN nullif(journeys, 0) END AS n_1,
        CASE WHEN least(journeys, others) >= {few} THEN nullif(others, 0) END AS n_2
    FROM bases
    WHERE step IS NOT NULL
),
tests AS (
    SELECT
        *,
        shares_p(hits, n_1, other_hits, n_2) AS p_value,
        CASE WHEN hits > 0 AND other_hits > 0 THEN sqrt(1 / hits - 1 / n_1 + 1 / other_hits - 1 / n_2) END AS log_error
    FROM shares
),
ranks AS (
    SELECT
        *,
        (hits / n_1) / nullif(other_hits / n_2, 0) AS ratio,
        p_value * count(p_value) OVER ({partition_by}) / nullif(count(p_value) OVER ({partition_by} ORDER BY p_value), 0)
            AS p_ranked
    FROM tests
)
SELECT
    {by}
    step, journeys, customers, hits,
    hits / n_1 AS risk, wilson_low(hits, n_1) AS risk_low, wilson_high(hits, n_1) AS risk_high,
    others, other_hits,
    other_hits / n_2 AS other_risk, wilson_low(other_hits, n_2) AS other_low, wilson_high(other_hits, n_2) AS other_high,
    hits / n_1 - other_hits / n_2 AS difference,
    newcombe_low(hits, n_1, other_hits, n_2) AS difference_low,
    newcombe_high(hits, n_1, other_hits, n_2) AS difference_high,
    ratio, ratio / exp(1.959963984540054 * log_error) AS ratio_low, ratio * exp(1.959963984540054 * log_error) AS ratio_high,
    p_value,
    CASE WHEN p_value IS NOT NULL THEN least(1, min(p_ranked) OVER ({partition_by} ORDER BY p_value DESC)) END AS p_adjusted,
    CASE WHEN least(journeys, others) < {few} THEN 'risk, other_risk, difference, ratio' END AS too_few
FROM ranks
ORDER BY {order} abs(difference) DESC NULLS LAST, journeys DESC, step {then_by}
