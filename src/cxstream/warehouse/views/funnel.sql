-- # funnel
-- How many journeys reach each step of a funnel, in the order of the steps or in any order, within a time.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `number`, `step` | 1.., text | place of the step in the funnel, and its name |
-- | `journeys` | journeys | that reach it: they have all steps up to this one, within the time |
-- | `customers` | customers | distinct, of these journeys |
-- | `conversion` | 0..1 | `journeys` / journeys that reach the first step |
-- | `from_previous` | 0..1 | `journeys` / journeys that reach the step before |
-- | `drop_off` | journeys | that reach the step before, and not this one |
-- | `median_s` | seconds | from the first of the steps to this one, where a journey first reaches it |
--
-- ## Options
-- - steps: awareness>consideration>purchase>loyalty, TEXT: the steps, at most 8, with > between them
-- - place: stage, touchpoint, channel, kind: what a step is
-- - order: strict, any: strict wants the steps one after the other; other touchpoints may come between them
-- - within: 30, NUMBER: days from the first of the steps to the last
-- - per: customer, session, case: what a journey is
-- - who: all, left, stayed: everybody, customers who have left at any time, or the others
--
-- ## Keys
-- - number: place of the step
-- - step: its name
--
-- ## Caveats
-- - A step that no journey reaches has no row. A step counts once, however often it is in a journey.
-- - The default steps leave out the stage service: a customer who needs no help is no loss. Name it in `steps` to count it.
-- - The window cuts journeys: the last ones have had less time to go on.
-- - With `order=any` a journey reaches a step when it has all steps up to it within the time; a journey without the first step reaches none.
-- - `--by` and `--grain` take the values of the first touchpoint of a journey that is one of the steps.
--
-- ## Behind
-- - customers: true
-- - journeys: true
WITH named AS (
    SELECT list_transform(string_split({option steps}, '>'), lambda name: trim(name)) AS names
),
steps AS NOT MATERIALIZED (
    SELECT *, epoch_ms(time) AS ms
    FROM (
        SELECT {journey}, {by} time, "partition", "offset", list_position((SELECT names FROM named), {step}) AS number
        FROM {selected} WHERE {in_journey}
    )
    WHERE number BETWEEN 1 AND 8
),
{reaching},
firsts AS (
    -- The first row that reaches a step has the least time and the least start.
    SELECT {journey}, number, min(time) AS time, (min(ms) - min(began)) / 1000 AS took_s
    FROM reaching
    GROUP BY {journey}, number
),
reached AS (
    SELECT *, (SELECT names FROM named)[number] AS step
    FROM firsts {with_first_by steps}
)
-- result of reached
, counts AS (
    SELECT
        {by}
        number, step, count(*) AS journeys, {journey_customers} AS customers, median(took_s) AS median_s
    FROM reached
    GROUP BY {by} number, step
)
-- shown
SELECT
    {by}
    number,
    step,
    journeys,
    customers,
    journeys / first_value(journeys) OVER in_order AS conversion,
    journeys / lag(journeys) OVER in_order AS from_previous,
    lag(journeys) OVER in_order - journeys AS drop_off,
    median_s
FROM counts
WINDOW in_order AS ({partition_by} ORDER BY number)
ORDER BY {by} number
