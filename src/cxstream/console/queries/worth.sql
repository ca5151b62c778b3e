-- # worth
-- What customers are expected to bring, and how much of it is at risk, by their latest score cards. Customers who left are no part of it.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `part` | text | by the option `each`: the announced level, or 20 points of the probability that the customer will buy again |
-- | `customers`, `valued` | customers | all, and those whose value a purchase model knows |
-- | `alive` | customers | sum of the probabilities to buy again |
-- | `clv`, `value_at_risk` | base currency | sums: expected to bring, and that times the churn risk |
-- | `spent` | base currency | sum of what they spent so far |
--
-- ## Options
-- - each: level, alive: what a row is
--
-- ## Keys
-- - part: what the customers have in common
--
-- ## Dimensions
-- - level
--
-- ## Behind
-- - customers: true
-- - valued: clv IS NOT NULL
WITH gone AS (
    SELECT customer_id FROM touchpoints WHERE kind IN ('churned', 'won_back')
    GROUP BY customer_id HAVING arg_max(kind, (time, "partition", "offset")) = 'churned'
),
worth AS (
    SELECT
        customer_id, time, announced AS level, p_alive, clv, value_at_risk, spent,
        CASE {option each} WHEN 'level' THEN announced
            WHEN 'alive' THEN CASE WHEN p_alive IS NOT NULL THEN
                (20 * least(floor(p_alive * 5), 4)::INTEGER) || '-' || (20 * least(floor(p_alive * 5), 4)::INTEGER + 20) END
        END AS part
    FROM cards ANTI JOIN gone USING (customer_id)
    WHERE {filtered}
)
-- result of worth
SELECT
    {by}
    part, count(*) AS customers, count(clv) AS valued,
    sum(p_alive) AS alive, sum(clv) AS clv, sum(value_at_risk) AS value_at_risk, sum(spent) AS spent
FROM worth
GROUP BY {by} part
ORDER BY part {then_by}
