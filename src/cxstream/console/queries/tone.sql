-- # tone
-- Texts of customers by the sentiment that their source or the text model gave them.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `texts`, `customers` | | contacts, complaints, answers, reviews and posts that have a sentiment, and distinct customers of these |
-- | `positive_texts`, `neutral_texts`, `negative_texts` | texts | with a sentiment above, within and below the option `neutral` |
-- | `positive_share`, `positive_share_low`, `positive_share_high` | 0..1 | `positive_texts` / `texts` and its Wilson interval; empty where there are fewer texts than `--few` |
-- | `negative_share`, `negative_share_low`, `negative_share_high` | 0..1 | `negative_texts` / `texts` and its Wilson interval; likewise |
--
-- ## Options
-- - neutral: 0.05, NUMBER: a sentiment between minus this and this is neutral
--
-- ## Behind
-- - customers: sentiment IS NOT NULL
-- - texts: sentiment IS NOT NULL
-- - positive_texts: sentiment > {option neutral}
-- - neutral_texts: sentiment BETWEEN -{option neutral} AND {option neutral}
-- - negative_texts: sentiment < -{option neutral}
WITH texts AS (SELECT * FROM {selected} WHERE sentiment IS NOT NULL)
-- result of texts
, counts AS (
    SELECT
        {by}
        count(*) AS texts, count(DISTINCT customer_id) AS customers,
        count(*) FILTER ({positive_texts}) AS positive_texts, count(*) FILTER ({neutral_texts}) AS neutral_texts, count(*) FILTER ({negative_texts}) AS negative_texts
    FROM texts
    {group}
)
SELECT
    {by}
    texts, customers, positive_texts, neutral_texts, negative_texts,
    CASE WHEN texts >= {few} THEN positive_texts / texts END AS positive_share,
    CASE WHEN texts >= {few} THEN wilson_low(positive_texts, texts) END AS positive_share_low,
    CASE WHEN texts >= {few} THEN wilson_high(positive_texts, texts) END AS positive_share_high,
    CASE WHEN texts >= {few} THEN negative_texts / texts END AS negative_share,
    CASE WHEN texts >= {few} THEN wilson_low(negative_texts, texts) END AS negative_share_low,
    CASE WHEN texts >= {few} THEN wilson_high(negative_texts, texts) END AS negative_share_high
FROM counts
WHERE texts > 0
ORDER BY {order} texts DESC {then_by}
