-- # touchpoints
-- Where effort and bad mood come from: volume, points and what customers are like afterwards.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `touchpoints` | touchpoints | accepted in the window |
-- | `customers` | customers | distinct, who had one |
-- | `effort`, `mood` | points | sum of what they added, derived points included |
-- | `effort_per_visit`, `mood_per_visit` | points | the same for each touchpoint |
-- | `effort_share` | 0..1 | share of all effort in the selection (of the same period, with `--grain`) |
-- | `effort_after`, `satisfaction_after` | 0..100 | mean of the customers' scores right after a touchpoint |
-- | `failed_steps` | touchpoints | failed digital steps, those of your own kinds included |
-- | `rage_clicks` | touchpoints | rage clicks, reported or recognised |
-- | `repeat_contacts`, `channel_switches` | touchpoints | contacts with these derived points |
-- | `touchpoints_before`, `effort_per_visit_before` | | the same of the period before: as long as the window; with `--grain` the hour, day, week or month before |
-- | `effort_change` | points | `effort_per_visit` less `effort_per_visit_before` |
-- | `too_few` | text | `effort_change`, where one of the periods has fewer touchpoints than `--few` |
--
-- ## Caveats
-- - Without `--since` and `--until`, or `--grain`, there is no period before.
-- - Scores after a touchpoint are those of the customers who come there: they tell who comes, not what the place does.
-- - A customer with several touchpoints in the window counts once in `customers`; these do not add up over groups.
--
-- ## Behind
-- - customers: true
-- - touchpoints: true
-- - failed_steps: failed
-- - rage_clicks: rage_click OR kind = 'rage_click'
-- - repeat_contacts: repeat_contact
-- - channel_switches: channel_switch
WITH visits AS (SELECT * FROM {selected and before})
-- result of visits
, cells AS (
    SELECT
        {by}
        is_before,
        count(*) AS touchpoints,
        distinct_customers(CASE WHEN NOT is_before THEN customer_id END) AS customers,
        sum(round(effort::DOUBLE * 1e6)::BIGINT) / 1e6 AS effort,
        sum(round(mood::DOUBLE * 1e6)::BIGINT) / 1e6 AS mood,
        avg(effort_after::DOUBLE) AS effort_after,
        avg(satisfaction_after::DOUBLE) AS satisfaction_after,
        count(*) FILTER ({failed_steps}) AS failed_steps,
        count(*) FILTER ({rage_clicks}) AS rage_clicks,
        count(*) FILTER ({repeat_contacts}) AS repeat_contacts,
        count(*) FILTER ({channel_switches}) AS channel_switches
    FROM visits
    GROUP BY ALL
),
compared AS (
    SELECT
        now.*,
        before.touchpoints AS touchpoints_before,
        before.effort / before.touchpoints AS effort_per_visit_before,
        least(now.touchpoints, before.touchpoints) < {few} AS is_few
    FROM cells AS now LEFT JOIN cells AS before ON {is_same}
    WHERE NOT now.is_before
)
SELECT
    {by}
    touchpoints, customers, effort, mood,
    effort / touchpoints AS effort_per_visit,
    mood / touchpoints AS mood_per_visit,
    effort / nullif(sum(effort) OVER ({partition}), 0) AS effort_share,
    effort_after, satisfaction_after, failed_steps, rage_clicks, repeat_contacts, channel_switches,
    touchpoints_before, effort_per_visit_before,
    CASE WHEN NOT is_few THEN effort / touchpoints - effort_per_visit_before END AS effort_change,
    CASE WHEN is_few THEN 'effort_change' END AS too_few
FROM compared
ORDER BY {order} effort DESC, touchpoints DESC {then_by}
