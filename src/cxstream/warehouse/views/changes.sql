-- # changes
-- Changes of the experience as markers, and a measure before and after each of them.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `change`, `change_source`, `change_id` | text | its name, who said so, and its id |
-- | `changed_at` | UTC | when it came into effect |
-- | `at_channel`, `at_touchpoint`, `at_product`, `at_location` | text | what it is limited to |
-- | `customers` | customers | distinct, with a touchpoint that the measure is of |
-- | `before_count`, `after_count` | touchpoints | that the measure is of, before and after |
-- | `before`, `after` | by the measure | mean, share or NPS in the days before, and after |
-- | `difference`, `difference_low`, `difference_high` | by the measure | `after` - `before`, and its interval of 95% |
-- | `after_days` | days | of the days after it, for which there is data |
-- | `too_few` | text | what is not shown, since it is of fewer touchpoints than `--few` |
--
-- ## Measures
--
-- | measure | unit | of | interval |
-- |---|---|---|---|
-- | `effort`, `mood` | points | what a touchpoint added | Welch |
-- | `effort_after`, `satisfaction_after` | 0..100 | the customer's scores after a touchpoint | Welch |
-- | `wait`, `handle` | seconds | contacts and queues that have `wait_s`, `handle_s` | Welch |
-- | `ces`, `stars` | 1..7, 1..5 | answers, reviews | Welch |
-- | `nps` | -100..100 | answers | normal, with the variance of the three-way score |
-- | `failed`, `repeat_contact`, `channel_switch`, `rage_click` | 0..1 | touchpoints with this flag | Newcombe |
-- | `abandoned`, `resolved` | 0..1 | contacts; `resolved` of those that say true or false | Newcombe |
-- | `csat` | 0..1 | answers of 4 or 5 | Newcombe |
--
-- Welch's interval has Student's t with the degrees of freedom of Welch and Satterthwaite, rounded down. Newcombe's is made of the
-- two Wilson intervals.
--
-- ## Options
-- - measure: effort, mood, effort_after, satisfaction_after, failed, repeat_contact, channel_switch, rage_click, wait, handle, abandoned, resolved, nps, csat, ces, stars: what is compared
-- - days: 28, NUMBER: days before the change, and after it
-- - skip: 0, NUMBER: days after the change that are left out, while customers get used to it
-- - place: same, everywhere: touchpoints at the place that the change is limited to, or all
--
-- ## Keys
-- - change: the name of the change
-- - change_source: who said so
-- - change_id: its id
--
-- ## Caveats
-- - Before and after is no proof: seasons, campaigns and other changes are in both. Whole weeks (`days` 7, 14, 28) at least have the same weekdays.
-- - `--since`, `--until` and `--grain` are about the time of the change; `--where` and `--by` about the touchpoints.
-- - A change without touchpoints around it has a row all the same, for the marker; with `--by` that is the row without a value.
-- - One customer can have several touchpoints: the intervals treat them as independent, and are too narrow.
--
-- ## Behind
-- - customers: measured IS NOT NULL
-- - before_count: measured IS NOT NULL AND NOT is_after
-- - after_count: measured IS NOT NULL AND is_after
WITH markers AS (
    SELECT
        name AS change, source AS change_source, id AS change_id, time AS changed_at,
        channel AS at_channel, touchpoint AS at_touchpoint, product AS at_product, location AS at_location,
        {period} AS period,
        time - to_milliseconds(({option days} * 86400000)::BIGINT) AS first_time,
        time + to_milliseconds(({option skip} * 86400000)::BIGINT) AS next_time,
        time + to_milliseconds((({option skip} + {option days}) * 86400000)::BIGINT) AS last_time
    FROM changes
    WHERE {around 0}
),
visits AS (
    SELECT
        *,
        CASE {option measure}
            WHEN 'effort' THEN effort
            WHEN 'mood' THEN mood
            WHEN 'effort_after' THEN effort_after
            WHEN 'satisfaction_after' THEN satisfaction_after
            WHEN 'failed' THEN failed::INTEGER
            WHEN 'repeat_contact' THEN repeat_contact::INTEGER
            WHEN 'channel_switch' THEN channel_switch::INTEGER
            WHEN 'rage_click' THEN rage_click::INTEGER
            WHEN 'wait' THEN wait_s
            WHEN 'handle' THEN handle_s
            WHEN 'abandoned' THEN CASE WHEN kind = 'contact' THEN coalesce(abandoned, false)::INTEGER END
            WHEN 'resolved' THEN CASE WHEN kind = 'contact' THEN resolved::INTEGER END
            WHEN 'nps' THEN CASE WHEN kind = 'survey_nps' THEN 100 * ((score >= 9)::INTEGER - (score <= 6)::INTEGER) END
            WHEN 'csat' THEN CASE WHEN kind = 'survey_csat' THEN (score >= 4)::INTEGER END
            WHEN 'ces' THEN CASE WHEN kind = 'survey_ces' THEN score END
            ELSE CASE WHEN kind = 'review' THEN rating END
        END::DOUBLE AS measured
    FROM (SELECT * EXCLUDE (level_after), level_after AS level FROM touchpoints)
    WHERE {filtered} AND {around 0 days skip}
),
compared AS (
    SELECT
        visits.* EXCLUDE (id), markers.*, visits.time >= next_time AS is_after
    FROM markers JOIN visits ON visits.time >= first_time AND visits.time < last_time
        AND (visits.time < changed_at OR visits.time >= next_time)
        AND (
            {option place} = 'everywhere' OR (
                (at_channel IS NULL OR at_channel = visits.channel)
                AND (at_touchpoint IS NULL OR at_touchpoint = visits.touchpoint)
                AND (at_product IS NULL OR at_product = visits.product)
                AND (at_location IS NULL OR at_location = visits.location)
            )
        )
    WHERE measured IS NOT NULL
    -- The marker itself.
    UNION ALL BY NAME SELECT * FROM markers
)
-- result of compared
, ending AS (SELECT max(time) AS data_end FROM touchpoints),
sides AS (
    SELECT
        {by}
        change, change_source, change_id, changed_at,
        at_channel, at_touchpoint, at_product, at_location, next_time, last_time,
        count(DISTINCT customer_id) FILTER ({customers}) AS customers,
        count(*) FILTER ({before_count}) AS before_count,
        count(*) FILTER ({after_count}) AS after_count,
        avg(measured) FILTER (NOT is_after) AS mean_1,
        avg(measured) FILTER (is_after) AS mean_2,
        pow(deviation(before_count, sum(measured) FILTER (NOT is_after), sum(measured * measured) FILTER (NOT is_after)), 2)
            AS var_1,
        pow(deviation(after_count, sum(measured) FILTER (is_after), sum(measured * measured) FILTER (is_after)), 2) AS var_2
    FROM compared
    GROUP BY ALL
),
bases AS (
    SELECT
        *,
        CASE WHEN before_count >= {few} THEN nullif(before_count, 0) END AS n_1,
        CASE WHEN after_count >= {few} THEN nullif(after_count, 0) END AS n_2,
        CASE
            WHEN {option measure} IN ('failed', 'repeat_contact', 'channel_switch', 'rage_click', 'abandoned', 'resolved', 'csat')
                THEN 'share'
            WHEN {option measure} = 'nps' THEN 'nps'
            ELSE 'mean'
        END AS method
    FROM sides
),
margins AS (
    SELECT
        *,
        CASE
            -- The variance of the three-way score is that of the answers, not of a sample.
            WHEN method = 'nps' THEN 1.959963984540054
                * sqrt(var_1 * (n_1 - 1) / n_1 / n_1 + var_2 * (n_2 - 1) / n_2 / n_2)
            ELSE welch_margin(var_1, n_1, var_2, n_2)
        END AS margin
    FROM bases
)
SELECT
    {by}
    change, change_source, change_id, changed_at, at_channel, at_touchpoint, at_product, at_location,
    customers, before_count, after_count,
    CASE WHEN n_1 > 0 THEN mean_1 END AS before,
    CASE WHEN n_2 > 0 THEN mean_2 END AS after,
    CASE WHEN n_1 > 0 AND n_2 > 0 THEN mean_2 - mean_1 END AS difference,
    CASE method WHEN 'share' THEN newcombe_low(round(mean_2 * n_2), n_2, round(mean_1 * n_1), n_1)
        WHEN 'nps' THEN clipped(mean_2 - mean_1 - margin, -200, 200) ELSE mean_2 - mean_1 - margin END AS difference_low,
    CASE method WHEN 'share' THEN newcombe_high(round(mean_2 * n_2), n_2, round(mean_1 * n_1), n_1)
        WHEN 'nps' THEN clipped(mean_2 - mean_1 + margin, -200, 200) ELSE mean_2 - mean_1 + margin END AS difference_high,
    greatest(0, (epoch_ms(least(last_time, data_end)) - epoch_ms(next_time)) / 86400000) AS after_days,
    nullif(concat_ws(
        ', ',
        CASE WHEN before_count BETWEEN 1 AND {few} - 1 THEN 'before' END,
        CASE WHEN after_count BETWEEN 1 AND {few} - 1 THEN 'after' END
    ), '') AS too_few
FROM margins, ending
ORDER BY {order} changed_at DESC, change, change_source, change_id {then_by}
