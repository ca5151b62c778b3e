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
-- - steps: awareness>consideration>purchase>service>loyalty, TEXT: the steps, at most 8, with > between them
-- - place: stage, touchpoint, channel, kind: what a step is
-- - order: strict, any: strict wants the steps one after the other; other touchpoints may come between them
-- - within: 30, NUMBER: days from the first of the steps to the last
-- - per: customer, session, case: what a journey is
--
-- ## Keys
-- - number: place of the step
-- - step: its name
--
-- ## Caveats
-- - A step that no journey reaches has no row. A step counts once, however often it is in a journey.
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
visits AS (
    SELECT
        *,
        CASE {option per} WHEN 'customer' THEN '' WHEN 'session' THEN session ELSE case_id END AS thread,
        list_position((SELECT names FROM named), CASE {option place} WHEN 'touchpoint' THEN touchpoint
            WHEN 'stage' THEN stage WHEN 'channel' THEN channel ELSE kind END) AS number,
        epoch_ms(time) AS ms
    FROM {selected}
),
steps AS (SELECT * FROM visits WHERE thread IS NOT NULL AND number BETWEEN 1 AND 8),
-- Strict: start_k of a touchpoint that is step k is the latest start of a chain of the steps before it.
ordered_1 AS (SELECT *, CASE WHEN number = 1 THEN ms END AS start_1 FROM steps),
ordered_2 AS (
    SELECT *, CASE WHEN number = 2 AND ms - max(start_1) OVER earlier <= {option within} * 86400000 THEN max(start_1) OVER earlier END
        AS start_2
    FROM ordered_1
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
ordered_3 AS (
    SELECT *, CASE WHEN number = 3 AND ms - max(start_2) OVER earlier <= {option within} * 86400000 THEN max(start_2) OVER earlier END
        AS start_3
    FROM ordered_2
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
ordered_4 AS (
    SELECT *, CASE WHEN number = 4 AND ms - max(start_3) OVER earlier <= {option within} * 86400000 THEN max(start_3) OVER earlier END
        AS start_4
    FROM ordered_3
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
ordered_5 AS (
    SELECT *, CASE WHEN number = 5 AND ms - max(start_4) OVER earlier <= {option within} * 86400000 THEN max(start_4) OVER earlier END
        AS start_5
    FROM ordered_4
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
ordered_6 AS (
    SELECT *, CASE WHEN number = 6 AND ms - max(start_5) OVER earlier <= {option within} * 86400000 THEN max(start_5) OVER earlier END
        AS start_6
    FROM ordered_5
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
ordered_7 AS (
    SELECT *, CASE WHEN number = 7 AND ms - max(start_6) OVER earlier <= {option within} * 86400000 THEN max(start_6) OVER earlier END
        AS start_7
    FROM ordered_6
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
ordered_8 AS (
    SELECT *, CASE WHEN number = 8 AND ms - max(start_7) OVER earlier <= {option within} * 86400000 THEN max(start_7) OVER earlier END
        AS start_8
    FROM ordered_7
    WINDOW earlier AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
-- Any order: the last time of each step so far.
lasting AS (
    SELECT
        *,
        max(ms) FILTER (number = 1) OVER until_now AS last_1,
        max(ms) FILTER (number = 2) OVER until_now AS last_2,
        max(ms) FILTER (number = 3) OVER until_now AS last_3,
        max(ms) FILTER (number = 4) OVER until_now AS last_4,
        max(ms) FILTER (number = 5) OVER until_now AS last_5,
        max(ms) FILTER (number = 6) OVER until_now AS last_6,
        max(ms) FILTER (number = 7) OVER until_now AS last_7,
        max(ms) FILTER (number = 8) OVER until_now AS last_8
    FROM ordered_8
    WINDOW until_now AS (
        PARTITION BY customer_id, thread ORDER BY time, "partition", "offset"
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),
starts AS (
    SELECT
        *,
        CASE WHEN {option order} = 'strict'
            THEN [start_1, start_2, start_3, start_4, start_5, start_6, start_7, start_8]
            ELSE [last_1, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL THEN least(last_1, last_2) END, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL AND last_3 IS NOT NULL THEN least(last_1, last_2, last_3) END, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL AND last_3 IS NOT NULL AND last_4 IS NOT NULL THEN least(last_1, last_2, last_3, last_4) END, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL AND last_3 IS NOT NULL AND last_4 IS NOT NULL AND last_5 IS NOT NULL THEN least(last_1, last_2, last_3, last_4, last_5) END, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL AND last_3 IS NOT NULL AND last_4 IS NOT NULL AND last_5 IS NOT NULL AND last_6 IS NOT NULL THEN least(last_1, last_2, last_3, last_4, last_5, last_6) END, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL AND last_3 IS NOT NULL AND last_4 IS NOT NULL AND last_5 IS NOT NULL AND last_6 IS NOT NULL AND last_7 IS NOT NULL THEN least(last_1, last_2, last_3, last_4, last_5, last_6, last_7) END, CASE WHEN last_1 IS NOT NULL AND last_2 IS NOT NULL AND last_3 IS NOT NULL AND last_4 IS NOT NULL AND last_5 IS NOT NULL AND last_6 IS NOT NULL AND last_7 IS NOT NULL AND last_8 IS NOT NULL THEN least(last_1, last_2, last_3, last_4, last_5, last_6, last_7, last_8) END]
        END AS begun
    FROM lasting
),
reaching AS (
    SELECT customer_id, thread, time, ms, "partition", "offset", reached AS number, begun[reached] AS began
    FROM starts, (SELECT unnest(range(1, 9)) AS reached)
    WHERE ms - begun[reached] <= {option within} * 86400000
),
firsts AS (
    SELECT
        customer_id, thread, number,
        min(time) AS time,
        first((ms - began) / 1000 ORDER BY time, "partition", "offset") AS took_s
    FROM reaching
    GROUP BY ALL
),
groups AS (
    SELECT {first_by} customer_id, thread FROM steps GROUP BY customer_id, thread
),
reached AS (
    SELECT groups.*, firsts.number, (SELECT names FROM named)[firsts.number] AS step, firsts.time, firsts.took_s
    FROM firsts JOIN groups ON groups.customer_id = firsts.customer_id AND groups.thread = firsts.thread
)
-- result of reached
, counts AS (
    SELECT
        {by}
        number, step, count(*) AS journeys, count(DISTINCT customer_id) AS customers, median(took_s) AS median_s
    FROM reached
    GROUP BY {by} number, step
)
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
