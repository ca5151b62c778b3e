-- # journeys
-- Which touchpoint follows which: the directly-follows edges of journeys, with what changes on each edge.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `from_touchpoint`, `to_touchpoint` | text | the edge; `from_touchpoint` is empty where a journey starts, `to_touchpoint` where it ends |
-- | `count` | edges | how often it is taken |
-- | `customers` | customers | distinct, who took it |
-- | `journeys` | journeys | distinct, in which it is taken |
-- | `median_s`, `mean_s` | seconds | between the two touchpoints |
-- | `effort`, `mood` | points | mean of what the second touchpoint added |
-- | `effort_change`, `satisfaction_change` | points | mean of the customer's score after the second touchpoint less the one after the first |
-- | `loop` | | whether it leads back to the same touchpoint |
--
-- ## Options
-- - per: customer, session, case: what a journey is; touchpoints without a session or case are left out there
-- - within: 0, NUMBER: days after which the next touchpoint begins another journey; 0 is never
-- - place: touchpoint, stage, channel, kind: what a step is
--
-- ## Keys
-- - from_touchpoint: where the edge starts
-- - to_touchpoint: where it leads
--
-- ## Caveats
-- - Filters choose touchpoints before they are joined to journeys: with `--where channel=call` a call follows the call before.
-- - The window cuts journeys: those that were under way at its start begin there.
-- - Touchpoints without a value for the step (`place`) are left out. Those of one time are in the order of the log.
-- - `--by` groups an edge by its second touchpoint; an end by the last one.
-- - Scores also change by themselves, as days go by; over long edges `effort_change` is mostly that.
--
-- ## Behind
-- - customers: true
-- - count: true
WITH visits AS (
    SELECT
        *,
        CASE {option per} WHEN 'customer' THEN '' WHEN 'session' THEN session ELSE case_id END AS thread,
        CASE {option place} WHEN 'touchpoint' THEN touchpoint WHEN 'stage' THEN stage WHEN 'channel' THEN channel
            ELSE kind END AS step
    FROM {selected}
),
steps AS (
    SELECT
        *,
        lag(step) OVER journey AS before_step,
        lag(time) OVER journey AS before_time,
        lag(effort_after) OVER journey AS before_effort,
        lag(satisfaction_after) OVER journey AS before_satisfaction,
        lead(time) OVER journey AS next_time
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
        ) AS part,
        before_time IS NULL OR ({option within} > 0 AND epoch_ms(time) - epoch_ms(before_time) > {option within} * 86400000)
            AS starts,
        next_time IS NULL OR ({option within} > 0 AND epoch_ms(next_time) - epoch_ms(time) > {option within} * 86400000)
            AS ends
    FROM steps
),
edges AS (
    SELECT
        * EXCLUDE (effort, mood),
        CASE WHEN NOT starts THEN before_step END AS from_touchpoint,
        step AS to_touchpoint,
        effort::DOUBLE AS effort,
        mood::DOUBLE AS mood,
        CASE WHEN NOT starts THEN (epoch_ms(time) - epoch_ms(before_time)) / 1000 END AS gap_s,
        CASE WHEN NOT starts THEN effort_after::DOUBLE - before_effort END AS effort_change,
        CASE WHEN NOT starts THEN satisfaction_after::DOUBLE - before_satisfaction END AS satisfaction_change
    FROM cut
    UNION ALL BY NAME
    SELECT * EXCLUDE (effort, mood), step AS from_touchpoint FROM cut WHERE ends
)
-- result of edges
SELECT
    {by}
    from_touchpoint,
    to_touchpoint,
    count(*) AS count,
    count(DISTINCT customer_id) AS customers,
    count(DISTINCT (customer_id, thread, part)) AS journeys,
    median(gap_s) AS median_s,
    avg(gap_s) AS mean_s,
    avg(effort) AS effort,
    avg(mood) AS mood,
    avg(effort_change) AS effort_change,
    avg(satisfaction_change) AS satisfaction_change,
    coalesce(from_touchpoint = to_touchpoint, false) AS loop
FROM edges
GROUP BY {by} from_touchpoint, to_touchpoint
ORDER BY {order} count DESC, from_touchpoint, to_touchpoint {then_by}
