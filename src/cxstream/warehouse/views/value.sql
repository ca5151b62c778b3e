-- # value
-- Money and loyalty: purchases, returns, discounts, loyalty and referrals, by what customers feel when they buy.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `band` | text | where asked for: 20 points of the customer's satisfaction or effort after the touchpoint, such as `60-80` |
-- | `customers` | customers | distinct, with one of these touchpoints |
-- | `buyers` | customers | distinct, with a purchase |
-- | `purchases`, `returns` | touchpoints | of these kinds |
-- | `revenue`, `returned` | base currency | their amounts, by the rates of the rules |
-- | `net` | base currency | `revenue` less `returned` |
-- | `per_purchase`, `per_buyer` | base currency | `revenue` / `purchases` with an amount in base currency; `revenue` / `buyers` |
-- | `return_share` | 0..1 | `returns` / `purchases` |
-- | `unconverted` | touchpoints | purchases and returns whose currency has no rate: not in the amounts |
-- | `valued`, `alive` | customers | of `customers`, those whose [value](scoring.md#customer-value) is known, and the sum of their probabilities to buy again |
-- | `clv`, `value_at_risk` | base currency | likewise: what they are expected to bring, and that times their churn risk |
-- | `discounts_used`, `loyalty_joined`, `loyalty_redeemed`, `referrals` | touchpoints | of these kinds |
--
-- ## Options
-- - band: none, satisfaction, effort: group by what the customer's score is
--
-- ## Keys
-- - band: empty where it is not asked for
--
-- ## Caveats
-- - The band is that of the score after the touchpoint, which a purchase itself makes better. It is no proof of cause.
-- - Returns count when they happen, not with the purchase that they undo: `return_share` of a short window compares different orders.
-- - `valued`, `alive`, `clv` and `value_at_risk` are by the latest score cards, as in the view [worth](#worth), whatever the window. Customers who left are no part of them. One customer counts in each row in which they are: rows do not add up.
--
-- ## Behind
-- - customers: true
-- - purchases: kind = 'purchase'
-- - returns: kind = 'return'
-- - unconverted: kind IN ('purchase', 'return') AND amount_base IS NULL
-- - discounts_used: kind = 'discount_used'
-- - loyalty_joined: kind = 'loyalty_joined'
-- - loyalty_redeemed: kind = 'loyalty_redeemed'
-- - referrals: kind = 'referral'
WITH bought AS (
    SELECT
        *,
        20 * clipped(floor(
            CASE {option band} WHEN 'satisfaction' THEN satisfaction_after WHEN 'effort' THEN effort_after END / 20
        ), 0, 4)::INTEGER AS band_low,
        band_low || '-' || (band_low + 20) AS band
    FROM {selected}
    WHERE kind IN ('purchase', 'return', 'discount_used', 'loyalty_joined', 'loyalty_redeemed', 'referral')
)
-- result of bought
, sums AS (
    SELECT
        {by}
        band,
        distinct_customers(customer_id) AS customers,
        distinct_customers(CASE WHEN {purchases} THEN customer_id END) AS buyers,
        count(*) FILTER ({purchases}) AS purchases,
        count(amount_base) FILTER ({purchases}) AS priced,
        count(*) FILTER ({returns}) AS returns,
        coalesce(sum(round(amount_base * 1e6)::HUGEINT) FILTER ({purchases}), 0) / 1e6 AS revenue,
        coalesce(sum(round(amount_base * 1e6)::HUGEINT) FILTER ({returns}), 0) / 1e6 AS returned,
        count(*) FILTER ({unconverted}) AS unconverted,
        count(*) FILTER ({discounts_used}) AS discounts_used,
        count(*) FILTER ({loyalty_joined}) AS loyalty_joined,
        count(*) FILTER ({loyalty_redeemed}) AS loyalty_redeemed,
        count(*) FILTER ({referrals}) AS referrals
    FROM bought
    GROUP BY {by} band
),
expected AS (
    SELECT
        {by}
        band, count(clv) AS valued,
        {sum p_alive} AS alive, {sum clv} AS clv, {sum value_at_risk} AS value_at_risk
    FROM (SELECT DISTINCT {by} band, customer_id FROM bought) JOIN (SELECT customer_id, p_alive, clv, value_at_risk FROM {worth}) USING (customer_id)
    GROUP BY {by} band
),
whole AS (
    SELECT sums.*, valued, alive, clv, value_at_risk
    FROM sums LEFT JOIN expected ON {same sums expected} sums.band IS NOT DISTINCT FROM expected.band
)
SELECT
    {by}
    band, customers, buyers, purchases, returns,
    revenue, returned, revenue - returned AS net,
    revenue / nullif(priced, 0) AS per_purchase,
    revenue / nullif(buyers, 0) AS per_buyer,
    returns / nullif(purchases, 0) AS return_share,
    unconverted, coalesce(valued, 0) AS valued, alive, clv, value_at_risk,
    discounts_used, loyalty_joined, loyalty_redeemed, referrals
FROM whole
ORDER BY {order} band, revenue DESC {then_by}
