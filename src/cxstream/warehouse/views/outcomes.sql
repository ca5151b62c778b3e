-- # outcomes
-- What sets journeys that end one way apart from those that end another way: steps, edges or paths that are more frequent in one.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `element` | text | the step, the edge (two steps with ` > ` between them) or the whole path |
-- | `journeys`, `customers` | journeys, customers | that have it, of both ends |
-- | `first_with`, `first_of` | journeys | that have it and end as the option `first` says, and all that end so |
-- | `first_share`, `first_low`, `first_high` | 0..1 | `first_with` / `first_of`, and its Wilson interval |
-- | `second_with`, `second_of` | journeys | the same of those that end as the option `second` says |
-- | `second_share`, `second_low`, `second_high` | 0..1 | `second_with` / `second_of`, and its Wilson interval |
-- | `difference`, `difference_low`, `difference_high` | -1..1 | `first_share` - `second_share`, and its interval of 95% (Newcombe, from the two Wilson intervals) |
-- | `p_value` | 0..1 | of no difference: chi-square test of two shares, one degree of freedom, without correction |
-- | `p_adjusted` | 0..1 | the same for all elements at once (Benjamini and Hochberg): of the elements below 0.05, some 5% are chance |
-- | `too_few` | text | what is not shown, since fewer journeys than `--few` have one of the ends |
--
-- A journey ends in churn if it has a `churned` after its last purchase; else in a purchase if it has one; else in a complaint
-- if one was opened; else in silence. Only what came before that touchpoint counts.
--
-- ## Options
-- - first: churn, purchase, complaint, silence: the end of the first group
-- - second: purchase, churn, complaint, silence: the end of the second group
-- - element: step, edge, path: what is compared
-- - per: customer, session, case: what a journey is; touchpoints without a session or case are left out there
-- - within: 0, NUMBER: days after which the next touchpoint begins another journey; 0 is never
-- - place: touchpoint, stage, channel, kind: what a step is
--
-- ## Keys
-- - element: the step, edge or path
--
-- ## Caveats
-- - A difference is no proof of a cause. Longer journeys have more of everything.
-- - Purchases, complaints and `churned` make the ends, and are no steps. Touchpoints without a value for the step (`place`) are none either, but end a journey.
-- - Filters choose touchpoints before they are joined to journeys; the window cuts journeys at both ends. With `--where` see that purchases and `churned` stay in.
-- - `--by` and `--grain` take the values of the first touchpoint of a journey.
-- - One customer can have several journeys (`within`, `per`): the intervals treat them as independent, and are too narrow.
--
-- ## Behind
-- - customers: element IS NOT NULL
-- - journeys: element IS NOT NULL
-- - first_with: element IS NOT NULL AND is_first
-- - second_with: element IS NOT NULL AND NOT is_first
WITH visits AS NOT MATERIALIZED (
    SELECT *, {step} AS step FROM {selected}
    WHERE CASE {option per} WHEN 'customer' THEN true WHEN 'session' THEN session IS NOT NULL ELSE case_id IS NOT NULL END
),
steps AS NOT MATERIALIZED (
    SELECT
        {journey}, {by} time, "partition", "offset", step, kind,
        {time before} AS before_time,
        row_number() OVER (PARTITION BY {journey} ORDER BY time, "partition", "offset") AS number
    FROM visits
),
cut AS (SELECT *, {part} AS part FROM steps),
ends AS (
    SELECT
        {journey},
        part,
        {first_by}
        min(time) AS time,
        max(number) FILTER (kind = 'purchase') AS bought,
        max(number) FILTER (kind = 'churned') AS parted,
        max(number) FILTER (kind = 'complaint_opened') AS complained
    FROM cut
    GROUP BY {journey}, part
),
ended AS (
    SELECT
        *,
        CASE
            WHEN parted > coalesce(bought, 0) THEN 'churn'
            WHEN bought IS NOT NULL THEN 'purchase'
            WHEN complained IS NOT NULL THEN 'complaint'
            ELSE 'silence'
        END AS ending
    FROM ends
),
chosen AS (
    SELECT
        * EXCLUDE (bought, parted, complained),
        ending = {option first} AS is_first,
        CASE ending WHEN 'churn' THEN parted WHEN 'purchase' THEN bought WHEN 'complaint' THEN complained END AS last_number
    FROM ended
    WHERE ending IN ({option first}, {option second})
),
taken AS (
    SELECT *
    FROM (
        SELECT {journey}, part, number, step FROM cut
        WHERE step IS NOT NULL AND kind NOT IN ('purchase', 'churned', 'complaint_opened')
    )
    JOIN chosen USING ({journey}, part)
    WHERE last_number IS NULL OR number < last_number
),
elements AS (
    SELECT
        *,
        CASE {option element} WHEN 'step' THEN step
            ELSE lag(step) OVER (PARTITION BY {journey}, part ORDER BY number) || ' > ' || step END AS element
    FROM taken
),
present AS (
    SELECT DISTINCT {journey}, part, {by} time, is_first, element FROM elements
    WHERE element IS NOT NULL AND {option element} <> 'path'
    UNION ALL
    SELECT {journey}, part, {by} any_value(time), any_value(is_first), string_agg(step, ' > ' ORDER BY number) FROM taken
    WHERE {option element} = 'path'
    GROUP BY {by} {journey}, part
    -- A row without an element for each journey.
    UNION ALL
    SELECT {journey}, part, {by} time, is_first, NULL FROM chosen
)
-- result of present
, counts AS (
    SELECT
        {by}
        element,
        count(*) AS journeys,
        {journey_customers} AS customers,
        count(*) FILTER (is_first) AS first_with,
        count(*) FILTER (NOT is_first) AS second_with
    FROM present
    GROUP BY {by} element
)
-- shown
, bases AS (
    SELECT
        *,
        coalesce(max(first_with) FILTER (element IS NULL) OVER ({partition_by}), 0) AS first_of,
        coalesce(max(second_with) FILTER (element IS NULL) OVER ({partition_by}), 0) AS second_of
    FROM counts
),
shares AS (
    SELECT
        *,
        CASE WHEN least(first_of, second_of) >= {few} THEN nullif(first_of, 0) END AS n_1,
        CASE WHEN least(first_of, second_of) >= {few} THEN nullif(second_of, 0) END AS n_2
    FROM bases
    WHERE element IS NOT NULL
),
tests AS (
    SELECT *, shares_p(first_with, n_1, second_with, n_2) AS p_value FROM shares
),
ranks AS (
    SELECT
        *,
        p_value * count(p_value) OVER ({partition_by}) / nullif(count(p_value) OVER ({partition_by} ORDER BY p_value), 0)
            AS p_ranked
    FROM tests
)
SELECT
    {by}
    element, journeys, customers,
    first_with, first_of, first_with / n_1 AS first_share,
    wilson_low(first_with, n_1) AS first_low, wilson_high(first_with, n_1) AS first_high,
    second_with, second_of, second_with / n_2 AS second_share,
    wilson_low(second_with, n_2) AS second_low, wilson_high(second_with, n_2) AS second_high,
    first_with / n_1 - second_with / n_2 AS difference,
    newcombe_low(first_with, n_1, second_with, n_2) AS difference_low,
    newcombe_high(first_with, n_1, second_with, n_2) AS difference_high,
    p_value,
    CASE WHEN p_value IS NOT NULL THEN least(1, min(p_ranked) OVER ({partition_by} ORDER BY p_value DESC)) END AS p_adjusted,
    CASE WHEN least(first_of, second_of) < {few} THEN 'first_share, second_share, difference' END AS too_few
FROM ranks
ORDER BY {order} abs(difference) DESC NULLS LAST, journeys DESC, element {then_by}
