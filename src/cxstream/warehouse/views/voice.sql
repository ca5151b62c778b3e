-- # voice
-- What customers say: NPS, CSAT, CES and reviews, with 95% intervals.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `nps`, `nps_low`, `nps_high` | -100..100 | share of promoters (9, 10) less share of detractors (0 to 6), times 100, and its interval: ± 1.96 `nps_se` |
-- | `nps_se` | points | standard error: 100 sqrt((p + d - (p - d)²) / n), the variance of the score -1, 0, 1 of each answer |
-- | `nps_answers`, `promoters`, `passives`, `detractors` | answers | to survey_nps: all, 9 or 10, 7 or 8, 0 to 6 |
-- | `csat`, `csat_low`, `csat_high` | 0..1 | share of the two best answers (4, 5) and its Wilson interval |
-- | `csat_answers`, `csat_top` | answers | to survey_csat: all, and 4 or 5 |
-- | `ces`, `ces_low`, `ces_high` | 1..7 | mean answer, 7 is easy, and its interval by Student's t |
-- | `ces_top`, `ces_top_low`, `ces_top_high` | 0..1 | share of the best answer (7) and its Wilson interval |
-- | `ces_answers` | answers | to survey_ces |
-- | `stars`, `stars_low`, `stars_high` | 1..5 | mean rating of reviews and its interval by Student's t |
-- | `reviews` | reviews | how many |
-- | `customers` | customers | who gave one of these answers |
-- | `too_few` | text | measures that are not shown, since they have fewer answers than `--few` |
--
-- ## Caveats
-- - An interval treats answers as independent. Several answers of one customer make it too narrow.
-- - It says nothing about customers who do not answer.
-- - Student's t of a mean of answers on a scale is an approximation that gets better with more answers.
--
-- ## Behind
-- - customers: true
-- - nps_answers: kind = 'survey_nps'
-- - promoters: kind = 'survey_nps' AND score >= 9
-- - passives: kind = 'survey_nps' AND score BETWEEN 7 AND 8
-- - detractors: kind = 'survey_nps' AND score <= 6
-- - csat_answers: kind = 'survey_csat'
-- - csat_top: kind = 'survey_csat' AND score >= 4
-- - ces_answers: kind = 'survey_ces'
-- - reviews: kind = 'review'
WITH answers AS (
    SELECT * FROM {selected} WHERE kind IN ('survey_nps', 'survey_csat', 'survey_ces', 'review')
)
-- result of answers
, counts AS (
    SELECT
        {by}
        count(*) FILTER ({nps_answers}) AS nps_answers,
        count(*) FILTER ({promoters}) AS promoters,
        count(*) FILTER ({passives}) AS passives,
        count(*) FILTER ({detractors}) AS detractors,
        count(*) FILTER ({csat_answers}) AS csat_answers,
        count(*) FILTER ({csat_top}) AS csat_top,
        count(*) FILTER ({ces_answers}) AS ces_answers,
        avg(score) FILTER ({ces_answers}) AS ces_mean,
        stddev_samp(score) FILTER ({ces_answers}) AS ces_deviation,
        count(*) FILTER (kind = 'survey_ces' AND score = 7) AS ces_best,
        count(*) FILTER ({reviews}) AS reviews,
        avg(rating) FILTER ({reviews}) AS rating_mean,
        stddev_samp(rating) FILTER ({reviews}) AS rating_deviation,
        distinct_customers(customer_id) AS customers
    FROM answers
    {group}
),
scores AS (
    SELECT
        *,
        CASE WHEN nps_answers > 0 AND nps_answers >= {few} THEN (promoters - detractors) / nps_answers END AS share,
        CASE WHEN csat_answers > 0 AND csat_answers >= {few} THEN csat_answers END AS csat_n,
        CASE WHEN ces_answers > 0 AND ces_answers >= {few} THEN ces_answers END AS ces_n,
        CASE WHEN reviews > 0 AND reviews >= {few} THEN reviews END AS reviews_n
    FROM counts
),
errors AS (
    SELECT
        *,
        100 * sqrt(greatest(0, (promoters + detractors) / nps_answers - share * share) / nps_answers) AS error
    FROM scores
)
SELECT
    {by}
    100 * share AS nps,
    clipped(100 * share - 1.959963984540054 * error, -100, 100) AS nps_low,
    clipped(100 * share + 1.959963984540054 * error, -100, 100) AS nps_high,
    CASE WHEN share IS NOT NULL THEN error END AS nps_se,
    nps_answers, promoters, passives, detractors,
    csat_top / csat_n AS csat, wilson_low(csat_top, csat_n) AS csat_low, wilson_high(csat_top, csat_n) AS csat_high,
    csat_answers, csat_top,
    CASE WHEN ces_n > 0 THEN ces_mean END AS ces,
    clipped(ces_mean - t_margin(ces_deviation, ces_n), 1, 7) AS ces_low,
    clipped(ces_mean + t_margin(ces_deviation, ces_n), 1, 7) AS ces_high,
    ces_best / ces_n AS ces_top, wilson_low(ces_best, ces_n) AS ces_top_low, wilson_high(ces_best, ces_n) AS ces_top_high,
    ces_answers,
    CASE WHEN reviews_n > 0 THEN rating_mean END AS stars,
    clipped(rating_mean - t_margin(rating_deviation, reviews_n), 1, 5) AS stars_low,
    clipped(rating_mean + t_margin(rating_deviation, reviews_n), 1, 5) AS stars_high,
    reviews,
    customers,
    nullif(concat_ws(
        ', ',
        CASE WHEN nps_answers BETWEEN 1 AND {few} - 1 THEN 'nps' END,
        CASE WHEN csat_answers BETWEEN 1 AND {few} - 1 THEN 'csat' END,
        CASE WHEN ces_answers BETWEEN 1 AND {few} - 1 THEN 'ces' END,
        CASE WHEN reviews BETWEEN 1 AND {few} - 1 THEN 'stars' END
    ), '') AS too_few
FROM errors
ORDER BY ALL
