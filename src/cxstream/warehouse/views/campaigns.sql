-- # campaigns
-- What campaigns bring and what they cost customers: reach, responses, revenue by attribution, contact pressure and complaints.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `pressure` | text | with `--set band=pressure`: campaign messages to the customer in the 7 days up to the touchpoint: `0`, `1`, `2`, `3-4`, `5+` |
-- | `sent`, `opened`, `clicked`, `unsubscribed` | touchpoints | campaign_sent and email_sent with a campaign; campaign_opened; campaign_clicked; unsubscribed |
-- | `customers` | customers | distinct, with one of these touchpoints, or a purchase credited to one |
-- | `messages_7d`, `messages_7d_max` | messages | mean and largest number of messages that the customer got in the 7 days up to a message, itself included |
-- | `followed` | messages | sent, and with `within` days of data after them: what the shares below are of |
-- | `followed_opened`, `open_share`, `open_low`, `open_high` | messages, 0..1 | followed by an opening of the same campaign by the customer within `within` days; their share of `followed` and its Wilson interval |
-- | `followed_clicked`, `click_share`, `click_low`, `click_high` | messages, 0..1 | likewise by a click on the same campaign |
-- | `followed_bought`, `buy_share`, `buy_low`, `buy_high` | messages, 0..1 | likewise by a purchase |
-- | `followed_unsubscribed`, `unsubscribe_share`, `unsubscribe_low`, `unsubscribe_high` | messages, 0..1 | likewise by an unsubscription, whatever campaign it names |
-- | `followed_complained`, `complaint_share`, `complaint_low`, `complaint_high` | messages, 0..1 | likewise by a complaint |
-- | `followed_churned`, `churn_share`, `churn_low`, `churn_high` | messages, 0..1 | likewise by a churn |
-- | `converted_first`, `converted_last` | purchases | whose first, last touch within `within` days before it is one of these |
-- | `converted_decay` | purchases | shares of purchases: a touch weighs 2^(-days before the purchase / `half_life`), and the weights of a purchase add up to 1 |
-- | `revenue_first`, `revenue_last`, `revenue_decay` | base currency | the amounts of these purchases, shared in the same way |
-- | `unconverted` | purchases | of `converted_last`, whose currency has no rate: not in the revenue |
-- | `cost` | base currency | sum of the `amount` of what was sent; a message without one costs the option `message_cost`; empty where nothing says a cost |
-- | `revenue_of_sent` | base currency | of the revenue by the option `attribution`, that of messages of the same campaign sent to the customer in the window, and with a grain in the same period: what `cost` was paid for |
-- | `roi` | | (`revenue_of_sent` - `cost`) / `cost` |
-- | `too_few` | text | the shares, where `followed` is less than `--few` |
--
-- ## Options
-- - band: none, pressure: group by the number of messages in 7 days
-- - within: 7, NUMBER: days in which a purchase is credited to a touch, and in which a response counts
-- - touch: clicked, opened, sent: what earns credit for a purchase: clicks; openings and clicks; or messages, openings and clicks
-- - attribution: last, first, decay: the revenue that `revenue_of_sent` and `roi` use
-- - half_life: 3, NUMBER: days in which the weight of a touch halves, for `decay`; 0 is the last touch
-- - message_cost: 0, NUMBER: base currency for each message that names no amount
--
-- ## Keys
-- - pressure: empty where it is not asked for
--
-- ## Caveats
-- - `--by campaign` shows a row for each campaign.
-- - Attribution is bookkeeping, no proof of cause: customers who click may have bought without the campaign. A holdout group proves it.
-- - `revenue_...` has the purchases of the window, also after messages sent before it. `roi` leaves those out, as their cost is not in `cost`; and it does not know what the window's last messages will still bring: choose windows much longer than `within`.
-- - A purchase has the window of its own time, and the dimensions (campaign, channel, segment, ...) of the touch that it is credited to. Filters choose what is shown; they do not change who gets the credit.
-- - A complaint or churn after a campaign need not be about it, and counts for each message in the days before it. Compare `complaint_share` by `--set band=pressure`.
-- - An unsubscription that names no campaign stands in the row without one.
-- - Messages of the last `within` days are not in `followed`: they have had less time.
-- - An `email_sent` with a campaign counts as a message: a source that sends both kinds for one mail counts it twice.
--
-- ## Behind
-- - customers: true
-- - sent: what = 'sent'
-- - opened: what = 'opened'
-- - clicked: what = 'clicked'
-- - unsubscribed: what = 'unsubscribed'
-- - followed: is_followed
-- - followed_opened: is_followed AND opened_soon
-- - followed_clicked: is_followed AND clicked_soon
-- - followed_bought: is_followed AND bought_soon
-- - followed_unsubscribed: is_followed AND unsubscribed_soon
-- - followed_complained: is_followed AND complained_soon
-- - followed_churned: is_followed AND churned_soon
-- - converted_first: what = 'purchase' AND is_first
-- - converted_last: what = 'purchase' AND is_last
-- - unconverted: what = 'purchase' AND is_last AND amount_base IS NULL
WITH ending AS (SELECT max(time) AS last_time FROM touchpoints),
sized AS (SELECT {option within} * 86400000 AS within_ms),
happened AS (
    SELECT
        *,
        coalesce(campaign, '') AS named,
        CASE kind
            WHEN 'campaign_sent' THEN 'sent' WHEN 'campaign_opened' THEN 'opened' WHEN 'campaign_clicked' THEN 'clicked'
            WHEN 'email_sent' THEN 'sent' ELSE kind
        END AS what
    FROM touchpoints
    WHERE {around 7 within}
        AND (
            kind IN ('campaign_sent', 'campaign_opened', 'campaign_clicked', 'unsubscribed', 'purchase', 'complaint_opened', 'churned')
            OR (kind = 'email_sent' AND campaign IS NOT NULL)
        )
),
timed AS (
    SELECT
        *,
        max(time) FILTER (what = 'sent') OVER up_to_now AS sent_at,
        min(time) FILTER (what = 'opened') OVER of_campaign AS opened_at,
        min(time) FILTER (what = 'clicked') OVER of_campaign AS clicked_at,
        min(time) FILTER (what = 'purchase') OVER afterwards AS bought_at,
        min(time) FILTER (what = 'unsubscribed') OVER afterwards AS unsubscribed_at,
        min(time) FILTER (what = 'complaint_opened') OVER afterwards AS complained_at,
        min(time) FILTER (what = 'churned') OVER afterwards AS churned_at,
        count(*) FILTER (what = 'sent') OVER (
            PARTITION BY customer_id ORDER BY time RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND CURRENT ROW
        ) AS messages
    FROM happened
    WINDOW
        up_to_now AS (
            PARTITION BY customer_id, named ORDER BY time RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ),
        of_campaign AS (
            PARTITION BY customer_id, named ORDER BY time RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ),
        afterwards AS (PARTITION BY customer_id ORDER BY time RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
),
messages AS (
    SELECT
        * EXCLUDE (opened_at, clicked_at, bought_at, unsubscribed_at, complained_at, churned_at),
        what = 'sent' AND epoch_ms(last_time) - epoch_ms(time) >= within_ms AS is_followed,
        coalesce(epoch_ms(opened_at) - epoch_ms(time) <= within_ms, false) AS opened_soon,
        coalesce(epoch_ms(clicked_at) - epoch_ms(time) <= within_ms, false) AS clicked_soon,
        coalesce(epoch_ms(bought_at) - epoch_ms(time) <= within_ms, false) AS bought_soon,
        coalesce(epoch_ms(unsubscribed_at) - epoch_ms(time) <= within_ms, false) AS unsubscribed_soon,
        coalesce(epoch_ms(complained_at) - epoch_ms(time) <= within_ms, false) AS complained_soon,
        coalesce(epoch_ms(churned_at) - epoch_ms(time) <= within_ms, false) AS churned_soon
    FROM timed, ending, sized
    WHERE what IN ('sent', 'opened', 'clicked', 'unsubscribed')
),
bought AS (
    SELECT customer_id, "partition" AS bought_partition, "offset" AS bought_offset, time AS bought_time, amount_base AS paid
    FROM happened WHERE what = 'purchase'
),
touches AS (
    SELECT
        messages.*,
        bought.* EXCLUDE (customer_id),
        epoch_ms(max(time) OVER (PARTITION BY bought_partition, bought_offset)) - epoch_ms(time) AS before_last_ms
    FROM messages JOIN bought ON messages.customer_id = bought.customer_id
    WHERE epoch_ms(bought_time) - epoch_ms(time) BETWEEN 0 AND within_ms
        AND list_contains(
            CASE {option touch} WHEN 'clicked' THEN ['clicked'] WHEN 'opened' THEN ['opened', 'clicked']
                ELSE ['sent', 'opened', 'clicked'] END,
            what
        )
),
credits AS (
    SELECT
        * EXCLUDE (what, time, amount_base, is_followed),
        'purchase' AS what,
        bought_time AS time,
        paid AS amount_base,
        false AS is_followed,
        row_number() OVER in_order = 1 AS is_first,
        lead(true, 1, false) OVER in_order IS FALSE AS is_last,
        weight / sum(weight) OVER (
            PARTITION BY bought_partition, bought_offset ORDER BY before_last_ms DESC, "partition", "offset"
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS part
    FROM (
        SELECT
            *,
            -- The last touch weighs 1.
            CASE WHEN before_last_ms = 0 THEN 1.0 WHEN {option half_life} > 0 THEN
                pow(2, -before_last_ms / ({option half_life} * 86400000)) ELSE 0.0 END AS weight
        FROM touches
    )
    WINDOW in_order AS (PARTITION BY bought_partition, bought_offset ORDER BY before_last_ms DESC, "partition", "offset")
),
touched AS (
    SELECT
        *,
        {period} AS period,
        coalesce(sent_at >= {since}, sent_at IS NOT NULL) AND {period sent_at} IS NOT DISTINCT FROM {period} AS is_of_sent,
        CASE WHEN {option band} = 'pressure' THEN
            CASE WHEN messages >= 5 THEN '5+' WHEN messages >= 3 THEN '3-4' ELSE messages::VARCHAR END
        END AS pressure
    FROM (SELECT *, level_after AS level FROM (FROM messages UNION ALL BY NAME FROM credits))
    WHERE {where}
)
-- result of touched
, sums AS (
    SELECT
        {by}
        pressure,
        distinct_customers(customer_id) AS customers,
        count(*) FILTER ({sent}) AS sent,
        count(*) FILTER ({opened}) AS opened,
        count(*) FILTER ({clicked}) AS clicked,
        count(*) FILTER ({unsubscribed}) AS unsubscribed,
        avg(messages) FILTER ({sent}) AS messages_7d,
        max(messages) FILTER ({sent}) AS messages_7d_max,
        count(*) FILTER ({followed}) AS followed,
        count(*) FILTER ({followed_opened}) AS followed_opened,
        count(*) FILTER ({followed_clicked}) AS followed_clicked,
        count(*) FILTER ({followed_bought}) AS followed_bought,
        count(*) FILTER ({followed_unsubscribed}) AS followed_unsubscribed,
        count(*) FILTER ({followed_complained}) AS followed_complained,
        count(*) FILTER ({followed_churned}) AS followed_churned,
        count(*) FILTER ({converted_first}) AS converted_first,
        count(*) FILTER ({converted_last}) AS converted_last,
        coalesce(sum(round(part * 1e6)::HUGEINT), 0) / 1e6 AS converted_decay,
        coalesce(sum(round(amount_base * 1e6)::HUGEINT) FILTER ({converted_first}), 0) / 1e6 AS revenue_first,
        coalesce(sum(round(amount_base * 1e6)::HUGEINT) FILTER ({converted_last}), 0) / 1e6 AS revenue_last,
        coalesce(sum(round(amount_base * part * 1e6)::HUGEINT), 0) / 1e6 AS revenue_decay,
        count(*) FILTER ({unconverted}) AS unconverted,
        coalesce(sum(round(amount_base * credit * 1e6)::HUGEINT) FILTER (is_of_sent), 0) / 1e6 AS revenue_of_sent,
        count(amount_base) FILTER ({sent}) AS priced,
        coalesce(sum(round(amount_base * 1e6)::HUGEINT) FILTER ({sent}), 0) / 1e6 AS named_cost
    FROM (
        SELECT *, CASE WHEN {option attribution} = 'decay' THEN part
            WHEN CASE {option attribution} WHEN 'last' THEN is_last ELSE is_first END THEN 1.0 END AS credit
        FROM touched
    )
    GROUP BY {by} pressure
),
costs AS (
    SELECT
        *,
        CASE WHEN followed >= {few} THEN nullif(followed, 0) END AS n,
        CASE WHEN priced > 0 OR ({option message_cost} > 0 AND sent > 0) THEN
            named_cost + (sent - priced) * {option message_cost} END AS cost,
        CASE {option attribution} WHEN 'last' THEN revenue_last WHEN 'first' THEN revenue_first ELSE revenue_decay END AS revenue
    FROM sums
)
SELECT
    {by}
    pressure, sent, opened, clicked, unsubscribed, customers, messages_7d, messages_7d_max, followed,
    followed_opened, followed_opened / n AS open_share, wilson_low(followed_opened, n) AS open_low, wilson_high(followed_opened, n) AS open_high,
    followed_clicked, followed_clicked / n AS click_share, wilson_low(followed_clicked, n) AS click_low, wilson_high(followed_clicked, n) AS click_high,
    followed_bought, followed_bought / n AS buy_share, wilson_low(followed_bought, n) AS buy_low, wilson_high(followed_bought, n) AS buy_high,
    followed_unsubscribed, followed_unsubscribed / n AS unsubscribe_share, wilson_low(followed_unsubscribed, n) AS unsubscribe_low, wilson_high(followed_unsubscribed, n) AS unsubscribe_high,
    followed_complained, followed_complained / n AS complaint_share, wilson_low(followed_complained, n) AS complaint_low, wilson_high(followed_complained, n) AS complaint_high,
    followed_churned, followed_churned / n AS churn_share, wilson_low(followed_churned, n) AS churn_low, wilson_high(followed_churned, n) AS churn_high,
    converted_first, converted_last, converted_decay,
    revenue_first, revenue_last, revenue_decay, unconverted,
    cost, revenue_of_sent, (revenue_of_sent - cost) / nullif(cost, 0) AS roi,
    CASE WHEN followed BETWEEN 1 AND {few} - 1 THEN 'shares' END AS too_few
FROM costs
ORDER BY {order} revenue DESC, sent DESC, pressure {then_by}
