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
WITH visits AS NOT MATERIALIZED (SELECT *, {step} AS step FROM {selected} WHERE {in_journey}),
-- Numbers are sorted, joined and grouped faster than texts.
codes AS MATERIALIZED (
    SELECT step, row_number() OVER (ORDER BY step)::INTEGER AS code FROM (SELECT DISTINCT step FROM visits)
),
steps AS NOT MATERIALIZED (
    SELECT
        {journey},
        {by}
        time, "partition", "offset", code, effort, mood, effort_after, satisfaction_after,
        lag(struct_pack(time, code, effort := effort_after, satisfaction := satisfaction_after)) OVER journey AS before,
        lead(time) OVER journey AS next_time
    FROM visits JOIN codes USING (step)
    WINDOW journey AS (PARTITION BY {journey} ORDER BY time, "partition", "offset")
),
cut AS NOT MATERIALIZED (
    SELECT
        *,
        {part} AS part,
        before IS NULL OR {breaks before_time time} AS starts,
        next_time IS NULL OR {breaks time next_time} AS ends
    FROM (SELECT *, before.time AS before_time FROM steps)
),
edges AS NOT MATERIALIZED (
    SELECT
        * EXCLUDE (code, before, effort, mood),
        CASE WHEN is_end THEN code WHEN NOT starts THEN before.code END AS from_code,
        CASE WHEN NOT is_end THEN code END AS to_code,
        (SELECT list(step ORDER BY code) FROM codes)[from_code] AS from_touchpoint,
        (SELECT list(step ORDER BY code) FROM codes)[to_code] AS to_touchpoint,
        CASE WHEN NOT is_end THEN effort::DOUBLE END AS effort,
        CASE WHEN NOT is_end THEN mood::DOUBLE END AS mood,
        NOT is_end AND NOT starts AS is_between,
        CASE WHEN is_between THEN (epoch_ms(time) - epoch_ms(before_time)) / 1000 END AS gap_s,
        CASE WHEN is_between THEN effort_after::DOUBLE - before.effort END AS effort_change,
        CASE WHEN is_between THEN satisfaction_after::DOUBLE - before.satisfaction END AS satisfaction_change
    FROM cut, (VALUES (false), (true)) AS sides (is_end)
    WHERE NOT is_end OR ends
)
-- result of edges
, taken AS MATERIALIZED (
    SELECT
        {by}
        {journey}, part, from_code, to_code, gap_s, effort, mood, effort_change, satisfaction_change
    FROM edges
),
counts AS (
    SELECT
        {by}
        from_code,
        to_code,
        count(*) AS count,
        avg(gap_s) AS mean_s,
        avg(effort) AS effort,
        avg(mood) AS mood,
        avg(effort_change) AS effort_change,
        avg(satisfaction_change) AS satisfaction_change
    FROM taken
    GROUP BY {by} from_code, to_code
),
frequent AS MATERIALIZED (SELECT *, row_number() OVER () AS edge FROM (FROM counts {top count})),
-- Sets and medians cost most: only of the edges that are shown.
sets AS (
    SELECT
        edge,
        count(DISTINCT customer_id) AS customers,
        count(DISTINCT {journey_key}) AS journeys,
        median(gap_s) AS median_s
    FROM taken JOIN frequent
        ON {same taken frequent}
            taken.from_code IS NOT DISTINCT FROM frequent.from_code AND taken.to_code IS NOT DISTINCT FROM frequent.to_code
    GROUP BY edge
)
-- shown
SELECT
    {by}
    origin.step AS from_touchpoint,
    target.step AS to_touchpoint,
    count, customers, journeys, median_s, mean_s, effort, mood, effort_change, satisfaction_change,
    coalesce(from_code = to_code, false) AS loop
FROM frequent
    JOIN sets USING (edge)
    LEFT JOIN codes AS origin ON origin.code = from_code
    LEFT JOIN codes AS target ON target.code = to_code
ORDER BY {order} count DESC, from_touchpoint, to_touchpoint {then_by}
