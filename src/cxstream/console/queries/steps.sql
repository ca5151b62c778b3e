-- # steps
-- Journeys step by step: how many go from which place to which, and where they end. Steps at the same place, one after the other,
-- are one step.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `step` | 1.. | number of the step that the link starts from |
-- | `from_place`, `to_place` | text | where it starts and leads; `to_place` is empty where the journey ends |
-- | `outcome` | text | `on` where the journey goes on, `later` where it goes on after the last step that is told apart; else how it ends: bought, complained, left or silent, as in the view paths |
-- | `result` | text | at the end and at `later`: how the whole journey ends |
-- | `journeys`, `customers` | | that go this way, and distinct customers |
-- | `median_s`, `low_s`, `high_s` | seconds | from the start of the step to the start of the next: median and quartiles |
-- | `effort`, `effort_margin` | points | mean of what the step that it leads to added, and half its 95% interval with a journey as the unit |
--
-- ## Options
-- - per: session, customer, case: what a journey is; touchpoints without a session or case are left out there
-- - within: 0, NUMBER: days after which the next touchpoint begins another journey; 0 is never
-- - place: touchpoint, channel, stage, kind: what a step is
-- - most: 6, NUMBER: places with a name at each step
-- - steps: 4, NUMBER: steps that are told apart
-- - who: all, left, stayed: everybody, customers who have left at any time, or the others
--
-- ## Keys
-- - step: number of the step
-- - from_place: where it starts
-- - to_place: where it leads
-- - outcome: whether and how it ends
-- - result: how the whole journey ends
--
-- ## Behind
-- - customers: true
-- - journeys: true
WITH visits AS (
    SELECT
        *,
        CASE {option per} WHEN 'customer' THEN '' WHEN 'session' THEN session ELSE case_id END AS thread,
        CASE {option place} WHEN 'touchpoint' THEN touchpoint WHEN 'stage' THEN stage WHEN 'channel' THEN channel
            ELSE kind END AS place
    FROM {selected}
    WHERE {option who} = 'all'
        OR (customer_id IN (SELECT customer_id FROM touchpoints WHERE kind = 'churned')) = ({option who} = 'left')
),
ordered AS (
    SELECT
        customer_id, thread, time, "partition", "offset", place, kind, effort,
        -- To leave is no step: it ends the journey before it, however much later it comes.
        kind <> 'churned' AS is_step,
        lag(CASE WHEN kind <> 'churned' THEN place END IGNORE NULLS) OVER journey AS place_before,
        lag(CASE WHEN kind <> 'churned' THEN time END IGNORE NULLS) OVER journey AS time_before
    FROM visits
    WHERE thread IS NOT NULL AND place IS NOT NULL
    WINDOW journey AS (PARTITION BY customer_id, thread ORDER BY time, "partition", "offset")
),
marked AS (
    SELECT
        *,
        time_before IS NULL
            OR (is_step AND {option within} > 0 AND epoch_ms(time) - epoch_ms(time_before) > {option within} * 86400000)
            AS is_start
    FROM ordered
    WHERE is_step OR time_before IS NOT NULL
),
numbered AS (
    SELECT
        *,
        count(*) FILTER (is_start) OVER past AS part,
        count(*) FILTER (is_start OR (is_step AND place <> place_before)) OVER past AS block
    FROM marked
    WINDOW past AS (PARTITION BY customer_id, thread ORDER BY time, "partition", "offset" ROWS UNBOUNDED PRECEDING)
),
blocks AS (
    SELECT
        customer_id, thread, part, block, any_value(place) FILTER (is_step) AS place, min(time) AS time,
        sum(effort::DOUBLE) FILTER (is_step) AS effort,
        max((time, "partition", "offset")) FILTER (kind = 'purchase') AS bought,
        max((time, "partition", "offset")) FILTER (kind = 'churned') AS parted,
        count(*) FILTER (kind = 'complaint_opened') AS complaints
    FROM numbered
    GROUP BY ALL
),
stepped AS (
    SELECT
        *,
        block - min(block) OVER whole + 1 AS step,
        count(*) OVER whole AS blocks,
        CASE
            WHEN max(parted) OVER whole IS NOT NULL
                AND (max(bought) OVER whole IS NULL OR max(parted) OVER whole > max(bought) OVER whole) THEN 'left'
            WHEN max(bought) OVER whole IS NOT NULL THEN 'bought'
            WHEN sum(complaints) OVER whole > 0 THEN 'complained'
            ELSE 'silent'
        END AS "end"
    FROM blocks
    WINDOW whole AS (PARTITION BY customer_id, thread, part)
),
sizes AS (
    SELECT step, place, count(*) AS n, row_number() OVER (PARTITION BY step ORDER BY count(*) DESC, place) AS rank
    FROM stepped WHERE step <= {option steps} GROUP BY step, place
),
named AS (
    SELECT stepped.*, CASE WHEN rank <= {option most} THEN stepped.place ELSE '…' END AS shown
    FROM stepped JOIN sizes ON stepped.step = sizes.step AND stepped.place = sizes.place
),
links AS (
    SELECT
        customer_id, time, step, shown AS from_place,
        lead(shown) OVER journey AS to_place,
        lead(effort) OVER journey AS effort,
        (epoch_ms(lead(time) OVER journey) - epoch_ms(time)) / 1000 AS gap_s,
        CASE WHEN step = blocks THEN "end" WHEN step >= {option steps} THEN 'later' ELSE 'on' END AS outcome,
        CASE WHEN step = blocks OR step >= {option steps} THEN "end" END AS result
    FROM named
    WINDOW journey AS (PARTITION BY customer_id, thread, part ORDER BY step)
)
-- result of links
SELECT
    {by}
    step, from_place, to_place, outcome, result,
    count(*) AS journeys, count(DISTINCT customer_id) AS customers,
    quantile_cont(gap_s, 0.5) AS median_s, quantile_cont(gap_s, 0.25) AS low_s, quantile_cont(gap_s, 0.75) AS high_s,
    avg(effort) AS effort,
    CASE WHEN count(effort) > 1 THEN student_t(count(effort) - 1) * stddev_samp(effort) / sqrt(count(effort)) END AS effort_margin
FROM links
GROUP BY ALL
ORDER BY {order} step, journeys DESC, from_place, to_place, outcome, result {then_by}
