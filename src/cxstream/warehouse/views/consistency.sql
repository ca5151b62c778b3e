-- # consistency
-- Whether the same topic, product or stage is the same experience in every channel, and who has to say it twice.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `item` | text | the topic, product, stage or touchpoint whose channels are compared |
-- | `touchpoints`, `customers` | touchpoints, customers | of it, and distinct customers |
-- | `channels` | channels | with at least `--few` touchpoints (and 2): those that are compared |
-- | `satisfaction` | 0..100 | mean of the customer's satisfaction after a touchpoint |
-- | `satisfaction_spread` | points | highest less lowest mean of the channels |
-- | `satisfaction_best`, `satisfaction_worst` | text | these channels |
-- | `satisfaction_f` | | Welch's F of the means of the channels: a one-way analysis of variance that lets their variances differ |
-- | `satisfaction_p` | 0..1 | the probability of such an F, or a larger one, if all channels had the same mean |
-- | `satisfaction_eta2` | 0..1 | effect size η²: sum of squares between channels / total sum of squares |
-- | `effort`, `effort_spread` | points | mean of the effort that a touchpoint added, and highest less lowest mean of the channels |
-- | `effort_best`, `effort_worst` | text | these channels: the lowest is the best |
-- | `effort_f`, `effort_p`, `effort_eta2` | | the test and the effect size, as for satisfaction |
-- | `resolved_share` | 0..1 | `resolved` / `answered` |
-- | `answered`, `resolved` | contacts | that say whether they were resolved, and those that were |
-- | `resolved_spread` | 0..1 | highest less lowest share of the channels with at least `--few` such contacts |
-- | `resolved_best`, `resolved_worst` | text | these channels |
-- | `resolved_chi2`, `resolved_p` | , 0..1 | Pearson's χ² of channel and resolution, and its probability if all channels resolved the same share |
-- | `resolved_v` | 0..1 | effect size: Cramér's V, the square root of χ² / contacts |
-- | `repeats` | contacts | about the item, at most 7 days after the contact before it of the same customer about the same item |
-- | `repeats_elsewhere` | contacts | of these, in another channel than the contact before: customers who say it again after a switch |
-- | `elsewhere_share` | 0..1 | `repeats_elsewhere` / `repeats` |
-- | `customers_elsewhere` | customers | distinct, with such a contact |
-- | `too_few` | text | `channels` where fewer than two have enough touchpoints, `resolved` where fewer than two have enough contacts |
--
-- ## Options
-- - of: topic, product, stage, touchpoint: whose channels are compared
--
-- ## Keys
-- - item: the topic, product, stage or touchpoint
--
-- ## Caveats
-- - Satisfaction and effort are rounded to 0.0001 points before they are compared; a touchpoint counts with at most 100,000 points of effort.
-- - Effect sizes first: with many touchpoints every difference is significant. Around 0.01 η² is small, 0.06 medium, 0.14 large; V 0.1, 0.3, 0.5 (Cohen).
-- - The tests treat touchpoints as independent. Several of one customer make `p` too small; so does looking at many items and picking the smallest.
-- - F and p are missing where a channel does not vary at all. χ² is an approximation that wants at least 5 expected contacts in each channel of each kind, resolved and not.
-- - Channels get different customers and different kinds of touchpoints. `--where kind=contact` compares like with like; `--by channel` shows the channels one by one.
-- - Touchpoints without a value for the item, and what the company does itself (mail, campaigns, actions, churn), are left out.
-- - The contact before counts whether or not it is in the window or passes the filters.
--
-- ## Behind
-- - customers: true
-- - touchpoints: true
-- - answered: kind = 'contact' AND resolved IS NOT NULL
-- - resolved: kind = 'contact' AND resolved
-- - repeats: is_repeat
-- - repeats_elsewhere: is_repeat AND is_elsewhere
WITH named AS (
    SELECT
        *,
        CASE {option of} WHEN 'topic' THEN topic WHEN 'product' THEN product WHEN 'stage' THEN stage ELSE touchpoint END AS item
    FROM touchpoints
    WHERE item IS NOT NULL
),
contacts AS (
    SELECT
        * EXCLUDE (before_time, before_channel),
        coalesce(before_time >= time - INTERVAL 7 DAY, false) AS is_repeat,
        coalesce(before_channel <> channel, false) AS is_elsewhere
    FROM (
        SELECT *, lag(time) OVER item_order AS before_time, lag(channel) OVER item_order AS before_channel
        FROM named
        WHERE kind = 'contact' AND {around 7}
        WINDOW item_order AS (PARTITION BY customer_id, item ORDER BY time, "partition", "offset")
    )
),
visits AS (
    SELECT *, {period} AS period
    FROM (
        SELECT
            *,
            level_after AS level,
            -- Whole numbers add up to the same in every order.
            round(satisfaction_after::DOUBLE * 1e4)::BIGINT AS satisfaction_units,
            round(least(effort::DOUBLE, 1e5) * 1e4)::BIGINT AS effort_units
        FROM (
            FROM contacts UNION ALL BY NAME
            SELECT *, false AS is_repeat, false AS is_elsewhere FROM named
            WHERE kind NOT IN ('contact', 'email_sent', 'campaign_sent', 'action_taken', 'churned', 'won_back', 'purchase_history')
        )
    )
    WHERE {where}
)
-- result of visits
, channels AS (
    SELECT
        {by}
        item,
        channel AS place,
        count(*) AS n,
        sum(satisfaction_units) AS satisfaction_sum,
        sum(satisfaction_units * satisfaction_units) AS satisfaction_squares,
        sum(effort_units) AS effort_sum,
        sum(effort_units * effort_units) AS effort_squares,
        count(*) FILTER ({answered}) AS answered,
        count(*) FILTER ({resolved}) AS resolved
    FROM visits
    GROUP BY {by} item, place
),
described AS (
    SELECT
        *,
        satisfaction_sum / n / 1e4 AS satisfaction_mean,
        coalesce((n * satisfaction_squares - satisfaction_sum * satisfaction_sum) / nullif(n * (n - 1), 0) / 1e8, 0)
            AS satisfaction_variance,
        effort_sum / n / 1e4 AS effort_mean,
        coalesce((n * effort_squares - effort_sum * effort_sum) / nullif(n * (n - 1), 0) / 1e8, 0) AS effort_variance
    FROM channels
),
usable AS (
    SELECT
        *,
        CASE WHEN n >= greatest({few}, 2) THEN n END AS m,
        m / nullif(satisfaction_variance, 0) AS satisfaction_w,
        m / nullif(effort_variance, 0) AS effort_w,
        CASE WHEN answered >= greatest({few}, 1) THEN answered END AS a,
        CASE WHEN a > 0 THEN resolved END AS r
    FROM described
),
centred AS (
    SELECT
        *,
        count(m) OVER same AS k,
        count(a) OVER same AS resolved_k,
        sum(m * satisfaction_mean) OVER same / sum(m) OVER same AS satisfaction_middle,
        sum(m * effort_mean) OVER same / sum(m) OVER same AS effort_middle,
        sum(satisfaction_w) OVER same AS satisfaction_weights,
        sum(effort_w) OVER same AS effort_weights,
        sum(satisfaction_w * satisfaction_mean) OVER same / sum(satisfaction_w) OVER same AS satisfaction_centre,
        sum(effort_w * effort_mean) OVER same / sum(effort_w) OVER same AS effort_centre,
        sum(r) OVER same / sum(a) OVER same AS share
    FROM usable
    -- In the order of the channels: sums of the same numbers are the same.
    WINDOW same AS (PARTITION BY {by} item ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
),
compared AS (
    SELECT
        {by}
        item,
        any_value(k) AS channels,
        any_value(resolved_k) AS resolved_channels,
        max(satisfaction_mean) FILTER (m > 0) - min(satisfaction_mean) FILTER (m > 0) AS satisfaction_spread,
        max(effort_mean) FILTER (m > 0) - min(effort_mean) FILTER (m > 0) AS effort_spread,
        first(place ORDER BY satisfaction_mean DESC, place) FILTER (m > 0) AS satisfaction_best,
        first(place ORDER BY satisfaction_mean, place DESC) FILTER (m > 0) AS satisfaction_worst,
        first(place ORDER BY effort_mean, place) FILTER (m > 0) AS effort_best,
        first(place ORDER BY effort_mean DESC, place DESC) FILTER (m > 0) AS effort_worst,
        sum(m * (satisfaction_mean - satisfaction_middle) ** 2 ORDER BY place) AS satisfaction_between,
        sum((m - 1) * satisfaction_variance ORDER BY place) AS satisfaction_within,
        sum(m * (effort_mean - effort_middle) ** 2 ORDER BY place) AS effort_between,
        sum((m - 1) * effort_variance ORDER BY place) AS effort_within,
        -- Welch: the means weighed by n / variance, and a correction for the weights being estimates.
        CASE WHEN count(satisfaction_w) = channels THEN
            sum(satisfaction_w * (satisfaction_mean - satisfaction_centre) ** 2 ORDER BY place) / nullif(channels - 1, 0) END AS satisfaction_a,
        sum((1 - satisfaction_w / satisfaction_weights) ** 2 / (m - 1) ORDER BY place) AS satisfaction_l,
        CASE WHEN count(effort_w) = channels THEN
            sum(effort_w * (effort_mean - effort_centre) ** 2 ORDER BY place) / nullif(channels - 1, 0) END AS effort_a,
        sum((1 - effort_w / effort_weights) ** 2 / (m - 1) ORDER BY place) AS effort_l,
        max(r / a) - min(r / a) AS resolved_spread,
        first(place ORDER BY r / a DESC, place) FILTER (a > 0) AS resolved_best,
        first(place ORDER BY r / a, place DESC) FILTER (a > 0) AS resolved_worst,
        sum(a ORDER BY place) AS chi2_n,
        sum((r - a * share) ** 2 / nullif(a * share * (1 - share), 0) ORDER BY place) AS chi2
    FROM centred
    GROUP BY {by} item
),
tested AS (
    SELECT
        *,
        satisfaction_a / (1 + 2 * (channels - 2) / (channels * channels - 1) * satisfaction_l) AS satisfaction_f,
        effort_a / (1 + 2 * (channels - 2) / (channels * channels - 1) * effort_l) AS effort_f
    FROM compared
),
overall AS (
    SELECT
        {by}
        item,
        count(*) AS touchpoints,
        count(DISTINCT customer_id) AS customers,
        sum(satisfaction_units) / count(*) / 1e4 AS satisfaction,
        sum(effort_units) / count(*) / 1e4 AS effort,
        count(*) FILTER ({answered}) AS answered,
        count(*) FILTER ({resolved}) AS resolved,
        count(*) FILTER ({repeats}) AS repeats,
        count(*) FILTER ({repeats_elsewhere}) AS repeats_elsewhere,
        count(DISTINCT CASE WHEN {repeats_elsewhere} THEN customer_id END) AS customers_elsewhere
    FROM visits
    GROUP BY {by} item
),
joined AS (
    SELECT {by} item, any_value(COLUMNS(* EXCLUDE ({by} item)))
    FROM (FROM tested UNION ALL BY NAME FROM overall)
    GROUP BY {by} item
)
SELECT
    {by}
    item, touchpoints, customers, channels,
    satisfaction,
    CASE WHEN channels > 1 THEN satisfaction_spread END AS satisfaction_spread,
    CASE WHEN channels > 1 THEN satisfaction_best END AS satisfaction_best,
    CASE WHEN channels > 1 THEN satisfaction_worst END AS satisfaction_worst,
    satisfaction_f,
    f_tail(satisfaction_f, channels - 1, (channels * channels - 1) / (3 * satisfaction_l)) AS satisfaction_p,
    CASE WHEN channels > 1 THEN satisfaction_between / nullif(satisfaction_between + satisfaction_within, 0) END AS satisfaction_eta2,
    effort,
    CASE WHEN channels > 1 THEN effort_spread END AS effort_spread,
    CASE WHEN channels > 1 THEN effort_best END AS effort_best,
    CASE WHEN channels > 1 THEN effort_worst END AS effort_worst,
    effort_f,
    f_tail(effort_f, channels - 1, (channels * channels - 1) / (3 * effort_l)) AS effort_p,
    CASE WHEN channels > 1 THEN effort_between / nullif(effort_between + effort_within, 0) END AS effort_eta2,
    resolved / nullif(answered, 0) AS resolved_share,
    answered, resolved,
    CASE WHEN resolved_channels > 1 THEN resolved_spread END AS resolved_spread,
    CASE WHEN resolved_channels > 1 THEN resolved_best END AS resolved_best,
    CASE WHEN resolved_channels > 1 THEN resolved_worst END AS resolved_worst,
    CASE WHEN resolved_channels > 1 THEN chi2 END AS resolved_chi2,
    CASE WHEN resolved_channels > 1 THEN chi_square_tail(chi2, resolved_channels - 1) END AS resolved_p,
    CASE WHEN resolved_channels > 1 THEN sqrt(chi2 / chi2_n) END AS resolved_v,
    repeats, repeats_elsewhere,
    repeats_elsewhere / nullif(repeats, 0) AS elsewhere_share,
    customers_elsewhere,
    nullif(concat_ws(
        ', ',
        CASE WHEN channels < 2 THEN 'channels' END,
        CASE WHEN answered > 0 AND resolved_channels < 2 THEN 'resolved' END
    ), '') AS too_few
FROM joined
ORDER BY {order} touchpoints DESC, item {then_by}
