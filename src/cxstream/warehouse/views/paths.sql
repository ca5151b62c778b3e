-- # paths
-- Whole journeys: which sequences of touchpoints are frequent, how long they take and how they end.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `path` | text | the touchpoints in order, with ` > ` between them |
-- | `journeys` | journeys | that take exactly this path |
-- | `customers` | customers | distinct, of these journeys |
-- | `share` | 0..1 | of all journeys in the selection (in the same group, with `--by` or `--grain`) |
-- | `steps` | touchpoints | in the path |
-- | `loops` | steps | that lead back to the touchpoint just before |
-- | `median_s`, `mean_s` | seconds | from the first touchpoint to the last |
-- | `effort` | points | mean of what the whole journey added |
-- | `end_purchase`, `end_complaint`, `end_churn`, `end_silence` | journeys | how they end, below |
--
-- A journey ends in churn if it has a `churned` after its last purchase; else in a purchase if it has one; else in a complaint
-- if one was opened; else in silence.
--
-- ## Options
-- - per: customer, session, case: what a journey is; touchpoints without a session or case are left out there
-- - within: 0, NUMBER: days after which the next touchpoint begins another journey; 0 is never
-- - place: touchpoint, stage, channel, kind: what a step is
--
-- ## Keys
-- - path: the touchpoints in order
--
-- ## Caveats
-- - Filters choose touchpoints before they are joined to journeys; the window cuts journeys at both ends.
-- - `--by` and `--grain` take the values of the first touchpoint of a journey.
-- - Touchpoints without a value for the step (`place`) are no steps, and do not count for the end.
--
-- ## Behind
-- - customers: true
-- - journeys: true
-- - end_purchase: "end" = 'purchase'
-- - end_complaint: "end" = 'complaint'
-- - end_churn: "end" = 'churn'
-- - end_silence: "end" = 'silence'
WITH visits AS (
    SELECT
        *,
        CASE {option per} WHEN 'customer' THEN '' WHEN 'session' THEN session ELSE case_id END AS thread,
        CASE {option place} WHEN 'touchpoint' THEN touchpoint WHEN 'stage' THEN stage WHEN 'channel' THEN channel
            ELSE kind END AS step
    FROM {selected}
),
steps AS (
    SELECT *, lag(time) OVER journey AS before_time, lag(step) OVER journey AS before_step
    FROM visits
    WHERE thread IS NOT NULL AND step IS NOT NULL
    WINDOW journey AS (PARTITION BY customer_id, thread ORDER BY time, "partition", "offset")
),
cut AS (
    SELECT
        *,
        count(*) FILTER (
            {option within} > 0 AND epoch_ms(time) - epoch_ms(before_time) > {option within} * 86400000
        ) OVER (
            PARTITION BY customer_id, thread ORDER BY time, "partition", "offset" ROWS UNBOUNDED PRECEDING
        ) AS part
    FROM steps
),
whole AS (
    SELECT
        customer_id,
        {first_by}
        list(step ORDER BY time, "partition", "offset") AS taken,
        min(time) AS time,
        (epoch_ms(max(time)) - epoch_ms(min(time))) / 1000 AS length_s,
        sum(effort::DOUBLE) AS effort,
        max((time, "partition", "offset")) FILTER (kind = 'purchase') AS bought,
        max((time, "partition", "offset")) FILTER (kind = 'churned') AS parted,
        count(*) FILTER (kind = 'complaint_opened') AS complaints
    FROM cut
    GROUP BY customer_id, thread, part
),
journeys AS (
    SELECT
        * EXCLUDE (taken, bought, parted, complaints),
        array_to_string(taken, ' > ') AS path,
        len(taken) AS steps,
        len(list_filter(list_zip(taken[:-2], taken[2:]), lambda pair: pair[1] = pair[2])) AS loops,
        CASE
            WHEN parted IS NOT NULL AND (bought IS NULL OR parted > bought) THEN 'churn'
            WHEN bought IS NOT NULL THEN 'purchase'
            WHEN complaints > 0 THEN 'complaint'
            ELSE 'silence'
        END AS "end"
    FROM whole
)
-- result of journeys
SELECT
    {by}
    path,
    count(*) AS journeys,
    count(DISTINCT customer_id) AS customers,
    count(*) / sum(count(*)) OVER ({partition_by}) AS share,
    any_value(steps) AS steps,
    any_value(loops) AS loops,
    median(length_s) AS median_s,
    avg(length_s) AS mean_s,
    avg(effort) AS effort,
    count(*) FILTER ({end_purchase}) AS end_purchase,
    count(*) FILTER ({end_complaint}) AS end_complaint,
    count(*) FILTER ({end_churn}) AS end_churn,
    count(*) FILTER ({end_silence}) AS end_silence
FROM journeys
GROUP BY {by} path
ORDER BY {order} journeys DESC, path {then_by}
