-- # social
-- What customers post: sentiment, hashtags, engagement and share of voice.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `hashtag` | text | with `--set each=hashtag`: in lower case, without `#`; empty for posts without one |
-- | `posts`, `customers` | posts, customers | social posts, and distinct customers who wrote them |
-- | `share_of_voice` | 0..1 | `posts` / all posts in the selection (of the same period, with `--grain`) |
-- | `sentiment`, `sentiment_low`, `sentiment_high` | -1..1 | mean of the posts that have a sentiment, and its interval by Student's t |
-- | `rated` | posts | that have a sentiment |
-- | `positive`, `neutral`, `negative` | posts | with a sentiment above, within and below the option `neutral` |
-- | `net_sentiment` | -1..1 | (`positive` - `negative`) / `rated` |
-- | `likes`, `shares`, `comments` | | their sums; a post counts at most 1e12 |
-- | `engagement`, `engagement_per_post` | | `likes` + `shares` + `comments`, and the same for each post |
-- | `hashtags` | text | the five most frequent, with the number of posts that have them |
-- | `too_few` | text | `sentiment`, where fewer posts than `--few` have one |
--
-- ## Options
-- - each: post, hashtag: a row for each hashtag; a post with several counts for each of them
-- - neutral: 0.05, NUMBER: a sentiment between minus this and this is neutral
--
-- ## Keys
-- - hashtag: empty where it is not asked for
--
-- ## Caveats
-- - For the share of voice by topic and day: `--by topic --grain day`.
-- - With `each=hashtag` the shares of posts with several hashtags add up to more than 1.
-- - Likes, shares and comments are those that the source knew when it sent the post. A post that is sent again with newer numbers, as the same event, changes nothing.
-- - An interval treats posts as independent. It tells nothing about customers who do not post.
-- - Sentiment is the one that the source sent, or that of the text model where the rules name one. Posts without one count in `posts` alone.
--
-- ## Behind
-- - customers: true
-- - posts: true
-- - rated: sentiment IS NOT NULL
-- - positive: sentiment > {option neutral}
-- - neutral: sentiment BETWEEN -{option neutral} AND {option neutral}
-- - negative: sentiment < -{option neutral}
WITH posts AS (
    SELECT
        *,
        -- Whole numbers add up to the same in every order.
        round(sentiment * 1e6)::BIGINT AS units,
        list_distinct(list_filter(
            list_transform(coalesce(hashtags, []), lambda tag: lower(ltrim(trim(tag), '#'))), lambda tag: tag <> ''
        )) AS tags
    FROM {selected} WHERE kind = 'social_post'
),
voices AS (
    SELECT * EXCLUDE (named), unnest(named) AS hashtag, unnest(range(1, len(named) + 1)) AS number
    FROM (SELECT *, CASE WHEN {option each} = 'hashtag' AND len(tags) > 0 THEN tags ELSE [NULL::VARCHAR] END AS named FROM posts)
)
-- result of voices
, counts AS (
    SELECT
        {by}
        hashtag,
        count(*) AS posts,
        count(*) FILTER (number = 1) AS posts_once,
        count(DISTINCT customer_id) AS customers,
        sum(units) AS units,
        sum(units * units) AS squares,
        count(*) FILTER ({rated}) AS rated,
        count(*) FILTER ({positive}) AS positive,
        count(*) FILTER ({neutral}) AS neutral,
        count(*) FILTER ({negative}) AS negative,
        coalesce(sum(round(clipped(likes, 0, 1e12) * 1e3)::HUGEINT), 0) / 1e3 AS likes,
        coalesce(sum(round(clipped(shares, 0, 1e12) * 1e3)::HUGEINT), 0) / 1e3 AS shares,
        coalesce(sum(round(clipped(comments, 0, 1e12) * 1e3)::HUGEINT), 0) / 1e3 AS comments,
        list_aggregate(flatten(list(tags)), 'histogram') AS tag_posts
    FROM voices
    GROUP BY {by} hashtag
),
bases AS (
    SELECT
        *,
        units / nullif(rated, 0) / 1e6 AS sentiment,
        sqrt(greatest(0, rated * squares - units * units) / nullif(rated * (rated - 1), 0)) / 1e6 AS deviation,
        CASE WHEN rated >= {few} THEN nullif(rated, 0) END AS n,
        list_sort([struct_pack(less := -pair.value::BIGINT, name := pair.key) FOR pair IN map_entries(tag_posts)])[:5] AS top
    FROM counts
)
SELECT
    {by}
    hashtag, posts, customers,
    posts / sum(posts_once) OVER ({partition}) AS share_of_voice,
    CASE WHEN n > 0 THEN sentiment END AS sentiment,
    clipped(sentiment - t_margin(deviation, n), -1, 1) AS sentiment_low,
    clipped(sentiment + t_margin(deviation, n), -1, 1) AS sentiment_high,
    rated, positive, neutral, negative,
    (positive - negative) / nullif(rated, 0) AS net_sentiment,
    likes, shares, comments,
    likes + shares + comments AS engagement,
    (likes + shares + comments) / posts AS engagement_per_post,
    nullif(array_to_string([tag.name || ' ' || -tag.less FOR tag IN top], ', '), '') AS hashtags,
    CASE WHEN rated BETWEEN 1 AND {few} - 1 THEN 'sentiment' END AS too_few
FROM bases
ORDER BY {order} posts DESC, hashtag {then_by}
