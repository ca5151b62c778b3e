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
-- if one was opened; else in silence. `churned` is no step: it ends the journey before it, however much later it comes.
--
-- ## Options
-- - per: customer, session, case: what a journey is; touchpoints without a session or case are left out there
-- - within: 0, NUMBER: days after which the next touchpoint begins another journey; 0 is never
-- - place: touchpoint, stage, channel, kind: what a step is
-- - who: all, left, stayed: everybody, customers who have left at any time, or the others
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
WITH visits AS NOT MATERIALIZED (SELECT *, {step} AS step FROM {selected} WHERE {in_journey}),
-- Numbers are sorted and grouped faster than texts.
codes AS MATERIALIZED (
    SELECT step, row_number() OVER (ORDER BY step)::SMALLINT AS code FROM (SELECT DISTINCT step FROM visits)
),
named AS MATERIALIZED (SELECT list(step ORDER BY code) AS names FROM codes),
steps AS NOT MATERIALIZED (
    SELECT
        {journey}, {by} time, "partition", "offset", code, kind, effort,
        max(CASE WHEN kind <> 'churned' THEN time END) OVER (
            PARTITION BY {journey} ORDER BY time, "partition", "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS step_before
    FROM visits JOIN codes USING (step)
),
cut AS NOT MATERIALIZED (
    -- To leave begins no journey, and ends none where no step is before it.
    SELECT *, {part} AS part
    FROM (SELECT *, CASE WHEN kind = 'churned' THEN time ELSE step_before END AS before_time FROM steps)
    WHERE kind <> 'churned' OR step_before IS NOT NULL
),
whole AS NOT MATERIALIZED (
    SELECT
        customer_id,
        {first_by}
        list(code ORDER BY time, "partition", "offset") FILTER (kind <> 'churned') AS taken,
        min(time) AS time,
        (epoch_ms(max(time) FILTER (kind <> 'churned')) - epoch_ms(min(time))) / 1000 AS length_s,
        sum(effort::DOUBLE) FILTER (kind <> 'churned') AS effort,
        max((time, "partition", "offset")) FILTER (kind = 'purchase') AS bought,
        max((time, "partition", "offset")) FILTER (kind = 'churned') AS parted,
        count(*) FILTER (kind = 'complaint_opened') AS complaints
    FROM cut
    GROUP BY {journey}, part
),
journeys AS NOT MATERIALIZED (
    SELECT
        * EXCLUDE (bought, parted, complaints),
        array_to_string([names[code] FOR code IN taken], ' > ') AS path,
        CASE
            WHEN parted IS NOT NULL AND (bought IS NULL OR parted > bought) THEN 'churn'
            WHEN bought IS NOT NULL THEN 'purchase'
            WHEN complaints > 0 THEN 'complaint'
            ELSE 'silence'
        END AS "end"
    FROM whole, named
)
-- result of journeys
, counts AS (
    SELECT
        {by}
        taken,
        len(taken) AS steps,
        count(*) AS journeys,
        {journey_customers} AS customers,
        median(length_s) AS median_s,
        avg(length_s) AS mean_s,
        avg(effort) AS effort,
        count(*) FILTER ({end_purchase}) AS end_purchase,
        count(*) FILTER ({end_complaint}) AS end_complaint,
        count(*) FILTER ({end_churn}) AS end_churn,
        count(*) FILTER ({end_silence}) AS end_silence
    FROM journeys
    GROUP BY {by} taken
),
frequent AS (
    SELECT *, journeys / sum(journeys) OVER ({partition_by}) AS share
    FROM counts
    {top journeys steps}
)
-- shown
SELECT
    {by}
    array_to_string([names[code] FOR code IN taken], ' > ') AS path,
    journeys,
    customers,
    share,
    steps,
    len(list_filter(list_zip(taken[:-2], taken[2:]), lambda pair: pair[1] = pair[2])) AS loops,
    median_s, mean_s, effort, end_purchase, end_complaint, end_churn, end_silence
FROM frequent, named
ORDER BY {order} journeys DESC, steps, path {then_by}
