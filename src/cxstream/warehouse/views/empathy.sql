-- # empathy
-- An empathy map from data: what customers say, think, do and feel, their pains and gains, with counts.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `quadrant` | text | says, thinks, does, feels, pains or gains, below |
-- | `item` | text | what it is |
-- | `count`, `customers` | touchpoints, customers | in which it is, and distinct customers of them |
-- | `share` | 0..1 | `count` / all counts of the quadrant (in the same group, with `--by` or `--grain`), those that are not shown included |
-- | `effort`, `mood` | points | sum of what these touchpoints added |
--
-- | quadrant | from | item |
-- |---|---|---|
-- | says | answers to surveys, reviews, complaints and social posts | the answer in a few words: `NPS detractor`, `CSAT 2`, `CES 6`, `2.5 stars`, `complaint about invoice`, `negative post` |
-- | thinks | contacts, complaints, surveys, reviews and posts with a topic; returns, complaints, unsubscriptions and churn with a reason; searches | `about TOPIC`; `because REASON`; `looks for something at TOUCHPOINT`, which is where they search, not for what |
-- | does | every touchpoint of the customer, not of the company | kind and channel: `page_view on web` |
-- | feels | every touchpoint of the customer | satisfaction after it, in bands of 20 points: `satisfaction 60-80`; sentiment of its text: `positive words`, `neutral words`, `negative words` |
-- | pains | touchpoints that added effort or took mood | kind and place: `error at checkout` |
-- | gains | touchpoints that added mood | likewise |
--
-- ## Options
-- - through: any, TEXT: only customers who had a touchpoint of this name, or an event of this kind, in the window, under the filters
-- - most: 5, NUMBER: items of each quadrant
--
-- ## Keys
-- - quadrant: part of the map
-- - item: what it is
--
-- ## Caveats
-- - There are no quotes: the read model keeps no text of customers, masked or not.
-- - What customers think is inferred from what they ask about, what they look for and the reasons that sources give.
-- - For a segment: `--where segment=families`, or `--by segment`. For a journey: `--set through=checkout`, or filters on stage, campaign or touchpoint. Filters choose the touchpoints that count, not only the customers.
-- - A touchpoint can be in several quadrants: counts of different quadrants do not add up.
-- - Pains and gains are in the order of how often they happen. `effort` and `mood` tell how much they weigh.
-- - Words with a sentiment from -0.05 to 0.05 are neutral.
--
-- ## Behind
-- - customers: true
-- - count: true
WITH described AS (
    SELECT
        *,
        kind NOT IN ('email_sent', 'campaign_sent', 'action_taken', 'churned', 'won_back', 'purchase_history') AS is_own,
        CASE WHEN sentiment > 0.05 THEN 'positive' WHEN sentiment < -0.05 THEN 'negative' ELSE 'neutral' END AS tone,
        kind || coalesce(' at ' || touchpoint, ' on ' || channel) AS place,
        CASE kind
            WHEN 'survey_nps' THEN CASE WHEN score >= 9 THEN 'NPS promoter' WHEN score >= 7 THEN 'NPS passive' ELSE 'NPS detractor' END
            WHEN 'survey_csat' THEN 'CSAT ' || score::INTEGER
            WHEN 'survey_ces' THEN 'CES ' || score::INTEGER
            WHEN 'review' THEN printf('%g stars', rating)
            WHEN 'complaint_opened' THEN 'complaint' || coalesce(' about ' || topic, '')
            WHEN 'social_post' THEN CASE WHEN sentiment IS NULL THEN 'post' ELSE tone || ' post' END
        END AS said,
        CASE
            WHEN kind IN ('contact', 'complaint_opened', 'survey_nps', 'survey_csat', 'survey_ces', 'review', 'social_post')
                THEN 'about ' || topic
            WHEN kind IN ('search', 'search_no_result') THEN 'looks for something' || coalesce(' at ' || touchpoint, '')
        END AS thought,
        CASE WHEN kind IN ('return', 'complaint_opened', 'unsubscribed', 'churned') THEN 'because ' || reason END AS cause
    FROM {selected}
),
part AS (
    SELECT * FROM described
    WHERE {option through} = 'any' OR customer_id IN (
        SELECT customer_id FROM described WHERE touchpoint = {option through} OR kind = {option through}
    )
),
mapped AS (
    SELECT *, 'says' AS quadrant, said AS item FROM part WHERE said IS NOT NULL
    UNION ALL
    SELECT *, 'thinks' AS quadrant, thought AS item FROM part WHERE thought IS NOT NULL
    UNION ALL
    SELECT *, 'thinks' AS quadrant, cause AS item FROM part WHERE cause IS NOT NULL
    UNION ALL
    SELECT *, 'does' AS quadrant, kind || ' on ' || channel AS item FROM part WHERE is_own
    UNION ALL
    SELECT *, 'feels' AS quadrant, CASE
        WHEN satisfaction_after < 20 THEN 'satisfaction 0-20' WHEN satisfaction_after < 40 THEN 'satisfaction 20-40'
        WHEN satisfaction_after < 60 THEN 'satisfaction 40-60' WHEN satisfaction_after < 80 THEN 'satisfaction 60-80'
        ELSE 'satisfaction 80-100' END AS item
    FROM part WHERE is_own
    UNION ALL
    SELECT *, 'feels' AS quadrant, tone || ' words' AS item FROM part WHERE is_own AND sentiment IS NOT NULL
    UNION ALL
    SELECT *, 'pains' AS quadrant, place AS item FROM part WHERE effort > 0 OR mood < 0
    UNION ALL
    SELECT *, 'gains' AS quadrant, place AS item FROM part WHERE mood > 0
)
-- result of mapped
, items AS (
    SELECT
        {by}
        quadrant, item,
        count(*) AS count,
        count(DISTINCT customer_id) AS customers,
        sum(round(effort::DOUBLE * 1e6)::BIGINT) AS effort,
        sum(round(mood::DOUBLE * 1e6)::BIGINT) AS mood
    FROM mapped
    GROUP BY {by} quadrant, item
)
-- shown
SELECT
    {by}
    quadrant, item, count, customers,
    count / sum(count) OVER (PARTITION BY {by} quadrant) AS share,
    effort / 1e6 AS effort, mood / 1e6 AS mood
FROM items
QUALIFY row_number() OVER (PARTITION BY {by} quadrant ORDER BY count DESC, item) <= greatest({option most}, 1)
ORDER BY {by} list_position(['says', 'thinks', 'does', 'feels', 'pains', 'gains'], quadrant), count DESC, item
