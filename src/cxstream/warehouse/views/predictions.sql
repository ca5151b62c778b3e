-- # predictions
-- Whether the churn risk came true: predictions against what happened, by band of probability, and how well they rank.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `model` | text | the rules that made the prediction: their name and a digest |
-- | `band` | text | by the option `band`: the tenth of the model's predictions, `1` with the smallest probabilities; or the level |
-- | `predictions`, `customers` | predictions, customers | made in the window, and distinct customers |
-- | `waiting` | predictions | whose days, by the option `within`, are not over: nobody knows yet |
-- | `treated`, `held_out` | predictions | of those that are over: an action followed in these days; or none, and the customer was in a holdout |
-- | `followed` | predictions | that are over and count, by the option `who`: what the figures below are of |
-- | `low`, `high` | 0..1 | smallest and largest probability of these |
-- | `expected` | 0..1 | mean probability of these |
-- | `churned`, `churned_share`, `churned_low`, `churned_high` | predictions, 0..1 | of these, followed by `churned`; their share, and its Wilson interval, as of independent customers |
-- | `ratio` | | `churned_share` / `expected`: above 1, more leave than was said |
-- | `auc` | 0..1 | of all bands of the model together, in each of its rows: how often one who left had the larger probability of two; equal ones count half |
-- | `brier`, `log_loss` | | likewise: mean squared difference of probability and outcome; mean negative logarithm of the probability of what happened |
-- | `calibration_error` | 0..1 | likewise: mean distance of expected and observed over the tenths, weighted by their predictions |
-- | `too_few` | text | what is not shown: `churned_share`, since fewer than `--few` predictions are `followed`; `auc` and what comes with it, since fewer of the model's customers than `--few` have left, or stayed |
--
-- A prediction is the churn risk after the first touchpoint of a customer in each so many days (option `every`) of the partition's
-- clock, and made when the clock was there. Choosing the first one looks at nothing that comes later. Customers who had left
-- are left out, also where the `churned` that says so came later.
--
-- ## Options
-- - within: 30, NUMBER: days in which it is looked whether the customer left; those that the model is for
-- - every: 7, NUMBER: days of which a customer's first touchpoint counts
-- - band: tenth, level, all: rows by tenth of the probability, by level, or one row
-- - rules: apart, together: rows by the rules that made the prediction, or `all` of them as one model
-- - who: untreated, everybody, treated, held_out: whose outcomes count. Untreated: those that nobody has acted on; where 30 or more were held out, they stand for those treated as well, with that weight
--
-- ## Keys
-- - model: the rules; `all`
-- - band: the tenth or level; `all`
--
-- ## Caveats
-- - Rules without `churn_horizon_days` rank customers; their `expected` is no probability of anything, and `calibration_error` says so.
-- - `--by`, `--where` and the window are about the touchpoint of the prediction, and its time is that of the partition's clock.
-- - Customers are seen when something happens to them, not while they are silent: `cxstream train churn` checks at fixed days, and its model card need not have the same figures.
-- - Who was acted on would perhaps have left otherwise. Untreated ones alone are no fair sample where those with the largest risk are treated: hold some out.
-- - One customer has several predictions whose days overlap.
--
-- ## Behind
-- - customers: true
-- - predictions: true
-- - waiting: NOT is_past
-- - treated: is_past AND treatment = 'treated'
-- - held_out: is_past AND treatment = 'held_out'
-- - followed: is_past AND counts
-- - churned: is_past AND counts AND has_left
WITH reached AS (
    SELECT "partition", max(clock_ms) AS clock_ms
    FROM (
        SELECT "partition", clock_ms FROM clocks
        UNION ALL
        SELECT "partition", max(epoch_ms(time) + behind_ms) FROM touchpoints GROUP BY "partition"
    )
    GROUP BY "partition"
),
firsts AS (
    SELECT min(struct_pack(made_ms := epoch_ms(time) + behind_ms, at := "partition", place := "offset")) AS first
    FROM touchpoints
    WHERE {around 98 every}
    GROUP BY customer_id, (epoch_ms(time) + behind_ms) // greatest(({option every} * 86400000)::BIGINT, 1)
),
judged AS (
    SELECT t.* EXCLUDE (time), first.made_ms AS made_ms, epoch_ms(first.made_ms) AS time, level_after AS level
    FROM touchpoints AS t JOIN firsts ON t."partition" = first.at AND t."offset" = first.place
),
states AS (
    SELECT customer_id, "partition", "offset", kind = 'churned' AS has_gone
    FROM touchpoints WHERE kind IN ('churned', 'won_back', 'purchase')
),
active AS (
    SELECT judged.*
    FROM judged ASOF LEFT JOIN states
        ON states.customer_id = judged.customer_id AND states."partition" = judged."partition"
        AND states."offset" <= judged."offset"
    WHERE has_gone IS NOT TRUE
),
chosen AS (
    SELECT
        * REPLACE (CASE {option rules} WHEN 'apart' THEN model ELSE 'all' END AS model),
        {period} AS period,
        time + to_milliseconds(({option within} * 86400000)::BIGINT) AS over
    FROM active WHERE {where}
),
departures AS (
    SELECT
        chosen."partition", chosen."offset",
        bool_or(c.time > chosen.time AND c.time <= chosen.over) AS has_left,
        bool_or(
            c.time <= chosen.time
            AND (epoch_ms(c.time) + c.behind_ms, c."partition", c."offset") > (made_ms, chosen."partition", chosen."offset")
        ) AS had_left
    FROM chosen JOIN touchpoints AS c ON c.customer_id = chosen.customer_id AND c.kind = 'churned'
    GROUP BY ALL
),
acts AS (
    SELECT customer_id, time, coalesce(arm = 'holdout', false) AS is_holdout FROM touchpoints WHERE kind = 'action_taken'
    UNION ALL
    SELECT customer_id, time, true FROM risk_signals WHERE arm = 'holdout'
),
treatments AS (
    SELECT
        chosen."partition", chosen."offset",
        CASE WHEN bool_and(is_holdout) THEN 'held_out' ELSE 'treated' END AS treatment
    FROM chosen JOIN acts ON acts.customer_id = chosen.customer_id AND acts.time > chosen.time AND acts.time <= chosen.over
    GROUP BY ALL
),
known AS (
    SELECT
        chosen.*,
        CASE {option band} WHEN 'level' THEN level WHEN 'all' THEN 'all' END AS named,
        probability_after::DOUBLE AS probability,
        coalesce(has_left, false) AS has_left,
        coalesce(treatment, 'none') AS treatment,
        epoch_ms(over) <= clock_ms AS is_past
    FROM chosen
        LEFT JOIN departures USING ("partition", "offset")
        LEFT JOIN treatments USING ("partition", "offset")
        JOIN reached USING ("partition")
    WHERE had_left IS NOT TRUE
),
outcomes AS (
    SELECT
        * EXCLUDE (named),
        CASE {option who}
            WHEN 'everybody' THEN true
            WHEN 'untreated' THEN treatment <> 'treated'
            ELSE treatment = {option who}
        END AS counts,
        ntile(10) OVER (PARTITION BY {by} model ORDER BY probability, made_ms, "partition", "offset") AS tenth,
        coalesce(named, tenth::VARCHAR) AS band
    FROM known
)
-- result of outcomes
, grouped AS (SELECT *, row({by} model) AS of_model FROM outcomes),
acted AS (
    SELECT of_model, count(*) FILTER ({treated}) AS all_treated, count(*) FILTER ({held_out}) AS all_held_out
    FROM grouped
    GROUP BY of_model
),
weighed AS (
    -- Whole numbers, so that sums do not depend on their order.
    SELECT
        *,
        CASE
            WHEN {option who} <> 'untreated' OR all_held_out < 30 THEN 1
            WHEN treatment = 'held_out' THEN all_treated + all_held_out
            ELSE all_held_out
        END::HUGEINT AS weight,
        round(probability * 1e12)::HUGEINT AS pico
    FROM grouped JOIN acted USING (of_model)
),
likely AS (
    SELECT
        of_model,
        probability,
        coalesce(sum(weight) FILTER (has_left), 0) AS left_here,
        coalesce(sum(weight) FILTER (NOT has_left), 0) AS stayed_here
    FROM weighed WHERE {followed}
    GROUP BY of_model, probability
),
below AS (
    SELECT
        *,
        sum(stayed_here) OVER (
            PARTITION BY of_model ORDER BY probability ROWS UNBOUNDED PRECEDING
        ) - stayed_here AS stayed_below
    FROM likely
),
areas AS (
    SELECT
        of_model,
        sum(left_here * (2 * stayed_below + stayed_here)) / 2 / nullif(sum(left_here) * sum(stayed_here), 0) AS auc
    FROM below
    GROUP BY of_model
),
tenths AS (
    SELECT of_model, abs(sum(weight * (pico - 1000000000000 * has_left::INTEGER))) AS away
    FROM weighed WHERE {followed}
    GROUP BY of_model, tenth
),
distances AS (SELECT of_model, sum(away) AS away FROM tenths GROUP BY of_model),
losses AS (
    SELECT
        of_model,
        sum(weight) AS weights,
        count(DISTINCT customer_id) FILTER (has_left) AS who_left,
        count(DISTINCT customer_id) FILTER (NOT has_left) AS who_stayed,
        sum(weight * round(pow(probability - has_left::INTEGER, 2) * 1e12)::HUGEINT) / 1e12 / weights AS brier,
        sum(weight * round(-1e12 * ln(
            clipped(CASE WHEN has_left THEN probability ELSE 1 - probability END, 1e-12, 1)
        ))::HUGEINT) / 1e12 / weights AS log_loss
    FROM weighed WHERE {followed}
    GROUP BY of_model
),
whole AS (
    SELECT
        of_model,
        least(who_left, who_stayed) < {few} AS too_few,
        CASE WHEN NOT too_few THEN auc END AS auc,
        CASE WHEN NOT too_few THEN brier END AS brier,
        CASE WHEN NOT too_few THEN log_loss END AS log_loss,
        CASE WHEN NOT too_few THEN away / 1e12 / weights END AS calibration_error
    FROM losses JOIN areas USING (of_model) JOIN distances USING (of_model)
),
counted AS (
    SELECT
        {by}
        of_model,
        model,
        band,
        count(*) AS predictions,
        count(DISTINCT customer_id) AS customers,
        count(*) FILTER ({waiting}) AS waiting,
        count(*) FILTER ({treated}) AS treated,
        count(*) FILTER ({held_out}) AS held_out,
        count(*) FILTER ({followed}) AS followed,
        count(DISTINCT customer_id) FILTER ({followed}) AS people,
        min(probability) FILTER ({followed}) AS low,
        max(probability) FILTER ({followed}) AS high,
        sum(weight) FILTER ({followed}) AS weights,
        sum(weight * pico) FILTER ({followed}) / 1e12 / weights AS expected,
        count(*) FILTER ({churned}) AS churned,
        coalesce(sum(weight) FILTER ({churned}), 0) / weights AS observed,
        min(probability) AS least_probability
    FROM weighed
    GROUP BY {by} of_model, model, band
),
shown AS (
    SELECT
        *,
        CASE WHEN followed >= {few} THEN observed END AS churned_share,
        CASE WHEN churned_share IS NOT NULL THEN people END AS n
    FROM counted
)
SELECT
    {by}
    model, band, predictions, customers, waiting, treated, held_out, followed, low, high, expected,
    churned, churned_share, wilson_low(churned_share * n, n) AS churned_low, wilson_high(churned_share * n, n) AS churned_high,
    churned_share / nullif(expected, 0) AS ratio,
    auc, brier, log_loss, calibration_error,
    nullif(concat_ws(
        ', ',
        CASE WHEN followed < {few} AND followed > 0 THEN 'churned_share' END,
        CASE WHEN coalesce(whole.too_few, true) THEN 'auc, brier, log_loss, calibration_error' END
    ), '') AS too_few
FROM shown LEFT JOIN whole USING (of_model)
ORDER BY {order} model, least_probability, band {then_by}
