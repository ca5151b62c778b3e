-- # experiments
-- Whether acting helped: treated customers against those held out, by experiment and by action, with intervals.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `what`, `name` | text | `experiment`: by the arm of churn-risk signals; `action`: by the arm that the CRM wrote into `action_taken`; and its name |
-- | `outcome` | text | `effort` and `satisfaction` after the last touchpoint of the time; `nps`: the last answer in it, as 100, 0 or -100; `churn`: a `churned` in it; `spend`: purchases less returns in it |
-- | `customers` | customers | who entered: with the first `raised` or `worsened` signal, or the first action, that has an arm |
-- | `waiting` | customers | of these, whose `days` have not passed at the end of the data; left out of what follows |
-- | `entered_treated`, `entered_holdout` | customers | whose days have passed, by arm |
-- | `share`, `ratio_p` | 0..1 | the share to be held out, by the option `shares`, and the p-value of the sizes of the arms (chi-square): below 0.001 the arms are broken |
-- | `crossed` | customers | in both arms, one after the other; they count in the first |
-- | `acted_on_holdout` | customers | held out, and acted on all the same |
-- | `treated`, `holdout` | customers | with this outcome |
-- | `left_treated`, `left_holdout` | customers | of these, with `churned`; empty for other outcomes |
-- | `mean_treated`, `mean_holdout` | points, 0..1 or base currency | means of the outcome |
-- | `difference`, `low`, `high`, `p` | as the outcome | treated less holdout, adjusted by what was known before (CUPED), its interval of 95% and p-value (Welch's t) |
-- | `always_low`, `always_high` | as the outcome | interval of 95% that holds however often somebody looks (asymptotic confidence sequence) |
-- | `detectable` | as the outcome | the least difference that a test at 5% finds with a chance of 80% |
-- | `started`, `last_entry` | time | of the first customer who entered, and of the last |
-- | `too_few` | text | what is not shown, since an arm has fewer than 30 customers, or than `--few` where that is more |
--
-- ## Options
-- - days: 30, NUMBER: how long each customer is followed
-- - shares: none, TEXT: shares to be held out, such as `retention=0.2,spring=0.1`
--
-- ## Keys
-- - what: experiment or action
-- - name: of the experiment, or the action
-- - outcome: what is compared
--
-- ## Dimensions
-- - segment, channel, stage, product, location, campaign, topic, source, level
--
-- ## Caveats
-- - The figures are those of `cxstream evaluate`, which also has tenths by risk, the Qini curve, gain and return, and a bootstrap for spend.
-- - `--since`, `--until`, `--by` and `--where` are about the customer's first signal or action, and the touchpoint that caused it. Signals that a new day caused have no touchpoint: their values are empty, other than `level`.
-- - Only chance makes the arms alike. Of an action nothing here proves that chance drew them.
-- - Five outcomes are five tests, and each group of `--by` five more: decide before which one counts.
--
-- ## Behind
-- - customers: true
-- - waiting: NOT is_past
-- - entered_treated: is_past AND arm = 'treated'
-- - entered_holdout: is_past AND arm = 'holdout'
-- - crossed: is_past AND is_crossed
-- - acted_on_holdout: is_past AND arm = 'holdout' AND was_acted_on
-- - treated: is_past AND arm = 'treated' AND y IS NOT NULL
-- - holdout: is_past AND arm = 'holdout' AND y IS NOT NULL
-- - left_treated: is_past AND arm = 'treated' AND outcome = 'churn' AND y = 1
-- - left_holdout: is_past AND arm = 'holdout' AND outcome = 'churn' AND y = 1
WITH ending AS (SELECT max(time) AS last_time FROM touchpoints),
told AS (
    SELECT
        'experiment' AS what, s.experiment AS name, s.customer_id, s.arm, s.time, s.probability AS risk, s.level,
        s."partition", s."offset", s.n,
        cause.segment, cause.channel, cause.stage, cause.product, cause.location, cause.campaign, cause.topic, cause.source
    FROM risk_signals AS s LEFT JOIN touchpoints AS cause
        ON cause."partition" = s."partition" AND cause."offset" = s."offset" AND cause.customer_id = s.customer_id
    WHERE s.arm IS NOT NULL AND s.change IN ('raised', 'worsened')
    UNION ALL
    SELECT
        'action', action, customer_id, arm, time, probability_after, level_after,
        "partition", "offset", 0,
        segment, channel, stage, product, location, campaign, topic, source
    FROM touchpoints WHERE kind = 'action_taken' AND arm IS NOT NULL AND action IS NOT NULL
),
firsts AS (
    SELECT *, min(arm) OVER everything <> max(arm) OVER everything AS is_crossed
    FROM told
    WINDOW everything AS (PARTITION BY what, name, customer_id)
    QUALIFY row_number() OVER (
        PARTITION BY what, name, customer_id ORDER BY time, arm, risk, "partition", "offset", n
    ) = 1
),
chosen AS (
    SELECT
        *,
        {period} AS period,
        time + to_milliseconds(({option days} * 86400000)::BIGINT) AS finish,
        time - to_milliseconds(({option days} * 86400000)::BIGINT) AS earlier
    FROM firsts WHERE {where}
),
money AS (
    SELECT
        *,
        CASE kind WHEN 'purchase' THEN amount_base WHEN 'return' THEN -amount_base END AS paid,
        CASE WHEN kind = 'survey_nps' THEN CASE WHEN score >= 9 THEN 100 WHEN score <= 6 THEN -100 ELSE 0 END END AS promoter
    FROM touchpoints
),
after AS (
    SELECT
        e.what, e.name, e.customer_id,
        arg_max(t.effort_after, (t.time, t."offset")) FILTER (t.kind <> 'action_taken') AS effort,
        arg_max(t.satisfaction_after, (t.time, t."offset")) FILTER (t.kind <> 'action_taken') AS satisfaction,
        arg_max(t.promoter, (t.time, t."offset")) FILTER (t.promoter IS NOT NULL AND t.time > e.time) AS nps,
        coalesce(bool_or(t.kind = 'churned' AND t.time > e.time), false)::INTEGER AS churn,
        min(t.time) FILTER (t.kind = 'churned' AND t.time > e.time) AS left_at,
        coalesce(sum(round(t.paid * 1e6)::HUGEINT) FILTER (t.time > e.time), 0) / 1e6 AS spend,
        arg_max(t.effort_after, (t.time, t."offset")) FILTER (t.time <= e.time) AS effort_before,
        arg_max(t.satisfaction_after, (t.time, t."offset")) FILTER (t.time <= e.time) AS satisfaction_before,
        coalesce(sum(round(t.paid * 1e6)::HUGEINT) FILTER (t.time <= e.time AND t.time > e.earlier), 0) / 1e6 AS spend_before,
        coalesce(bool_or(t.kind = 'action_taken' AND t.arm IS DISTINCT FROM 'holdout' AND t.time >= e.time), false) AS was_acted_on
    FROM chosen AS e JOIN money AS t ON t.customer_id = e.customer_id AND t.time <= e.finish
    GROUP BY ALL
),
subjects AS (
    SELECT
        chosen.*,
        was_acted_on,
        left_at,
        finish <= last_time AS is_past,
        compared.outcome,
        CASE compared.outcome
            WHEN 'effort' THEN effort WHEN 'satisfaction' THEN satisfaction WHEN 'nps' THEN nps WHEN 'churn' THEN churn ELSE spend
        END::DOUBLE AS y,
        CASE compared.outcome
            WHEN 'effort' THEN effort_before WHEN 'churn' THEN risk WHEN 'spend' THEN spend_before ELSE satisfaction_before
        END::DOUBLE AS x
    FROM chosen JOIN after USING (what, name, customer_id) CROSS JOIN ending
    CROSS JOIN (VALUES ('effort'), ('satisfaction'), ('nps'), ('churn'), ('spend')) AS compared(outcome)
)
-- result of subjects
, counts AS (
    SELECT
        {by}
        what, name, outcome,
        distinct_customers(customer_id) AS customers,
        count(*) FILTER ({waiting}) AS waiting,
        count(*) FILTER ({entered_treated}) AS entered_treated,
        count(*) FILTER ({entered_holdout}) AS entered_holdout,
        count(*) FILTER ({crossed}) AS crossed,
        count(*) FILTER ({acted_on_holdout}) AS acted_on_holdout,
        count(*) FILTER ({treated}) AS treated,
        count(*) FILTER ({holdout}) AS holdout,
        CASE WHEN outcome = 'churn' THEN count(*) FILTER ({left_treated}) END AS left_treated,
        CASE WHEN outcome = 'churn' THEN count(*) FILTER ({left_holdout}) END AS left_holdout,
        min(time) AS started,
        max(time) AS last_entry
    FROM subjects
    GROUP BY {by} what, name, outcome
),
-- Sums of millionths are whole numbers, which add up to the same in any order.
whole AS (
    SELECT {by} what, name, outcome, arm, x, y, round(x * 1e6)::HUGEINT AS xm, round(y * 1e6)::HUGEINT AS ym
    FROM subjects WHERE is_past AND y IS NOT NULL
),
sums AS (
    SELECT
        {by}
        what, name, outcome, arm,
        count(*) AS n, count(x) AS k, min(x) AS x_low, max(x) AS x_high, min(y) AS y_low, max(y) AS y_high,
        coalesce(sum(xm), 0) / 1e6 AS sx, coalesce(sum(xm * xm), 0) / 1e12 AS sxx, coalesce(sum(xm * ym), 0) / 1e12 AS sxy,
        sum(ym) / 1e6 AS sy, sum(ym * ym) / 1e12 AS syy, coalesce(sum(ym) FILTER (x IS NOT NULL), 0) / 1e6 AS sy_known
    FROM whole
    GROUP BY {by} what, name, outcome, arm
),
pooled AS (
    SELECT
        *,
        sum(sx) OVER arms / nullif(sum(k) OVER arms, 0) AS mean_x,
        -- What was not known before is the mean of what was: it adds nothing to the slope.
        CASE WHEN min(x_low) OVER arms < max(x_high) OVER arms AND min(y_low) OVER arms < max(y_high) OVER arms THEN
            (sum(sxy) OVER arms - mean_x * sum(sy_known) OVER arms)
            / (sum(sxx) OVER arms - mean_x * sum(sx) OVER arms) ELSE 0 END AS slope
    FROM sums
    WINDOW arms AS (PARTITION BY {by} what, name, outcome)
),
moments AS (
    SELECT
        *,
        coalesce(sx - k * mean_x, 0) AS d,
        coalesce(sxx - 2 * mean_x * sx + k * mean_x * mean_x, 0) AS dd,
        coalesce(sxy - mean_x * sy_known, 0) AS dy
    FROM pooled
),
adjusted AS (
    SELECT
        * EXCLUDE (x_low, x_high, sx, sxx, sxy, sy_known),
        sy / n AS mean,
        (sy - slope * d) / n AS adjusted_mean,
        CASE WHEN n > 1 THEN greatest(
            0,
            CASE WHEN y_low < y_high THEN syy - sy * sy / n ELSE 0 END
            - 2 * slope * (dy - d * sy / n) + slope * slope * (dd - d * d / n)
        ) / (n - 1) END AS variance
    FROM moments
),
both_arms AS (
    SELECT
        {by}
        what, name, outcome,
        max(mean) FILTER (arm = 'treated') AS mean_treated,
        max(mean) FILTER (arm = 'holdout') AS mean_holdout,
        max(adjusted_mean) FILTER (arm = 'treated') - max(adjusted_mean) FILTER (arm = 'holdout') AS difference,
        max(variance) FILTER (arm = 'treated') AS v_1,
        max(variance) FILTER (arm = 'holdout') AS v_2,
        max(n) FILTER (arm = 'treated') AS n_1,
        max(n) FILTER (arm = 'holdout') AS n_2
    FROM adjusted
    GROUP BY {by} what, name, outcome
    HAVING n_1 >= greatest({few}, 30) AND n_2 >= greatest({few}, 30)
),
errors AS (
    SELECT
        *,
        sqrt(v_1 / n_1 + v_2 / n_2) AS error,
        CASE WHEN v_1 + v_2 > 0 THEN pow(v_1 / n_1 + v_2 / n_2, 2)
            / (pow(v_1 / n_1, 2) / (n_1 - 1) + pow(v_2 / n_2, 2) / (n_2 - 1)) END AS freedom
    FROM both_arms
),
margins AS (
    SELECT
        *,
        CASE WHEN error > 0 THEN student_t(freedom) * error ELSE 0 END AS margin,
        CASE WHEN error > 0 THEN t_tail(abs(difference) / error, freedom) ELSE (difference = 0)::INTEGER END AS p,
        sequence_margin(error, n_1 + n_2) AS always
    FROM errors
),
wanted AS (
    SELECT trim(split_part(part, '=', 1)) AS name, TRY_CAST(split_part(part, '=', 2) AS DOUBLE) AS share
    FROM (SELECT unnest(string_split({option shares}, ',')) AS part)
    WHERE share > 0 AND share < 1
    QUALIFY row_number() OVER (PARTITION BY name ORDER BY share) = 1
),
tested AS (
    SELECT
        counts.*,
        wanted.share,
        CASE WHEN entered_treated + entered_holdout > 0 THEN chi_square_tail(
            pow(entered_holdout - (entered_treated + entered_holdout) * share, 2)
            / ((entered_treated + entered_holdout) * share * (1 - share)), 1
        ) END AS ratio_p
    FROM counts LEFT JOIN wanted ON wanted.name = counts.name AND counts.what = 'experiment'
),
shown AS (
    SELECT t.*, m.mean_treated, m.mean_holdout, m.difference, m.margin, m.p, m.always, m.v_1, m.n_1, m.v_2, m.n_2
    FROM tested AS t LEFT JOIN margins AS m
        ON {same t m} t.what = m.what AND t.name = m.name AND t.outcome = m.outcome
)
SELECT
    {by}
    what, name, outcome, customers, waiting, entered_treated, entered_holdout, share, ratio_p, crossed, acted_on_holdout,
    treated, holdout, left_treated, left_holdout, mean_treated, mean_holdout,
    difference, difference - margin AS low, difference + margin AS high, p,
    difference - always AS always_low, difference + always AS always_high,
    detectable(v_1, n_1, v_2, n_2) AS detectable,
    started, last_entry,
    CASE WHEN difference IS NULL THEN 'difference' END AS too_few
FROM shown
ORDER BY {order} what DESC, name, list_position(['effort', 'satisfaction', 'nps', 'churn', 'spend'], outcome) {then_by}
