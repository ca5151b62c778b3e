-- # worth
-- What customers are expected to bring, and how much of it is at risk, by their latest score cards. Customers who left are no part of it.
--
-- ## Columns
-- | column | unit | meaning and formula |
-- |---|---|---|
-- | `part` | text | by the option `each`: the last notified level, or 20 points of the probability that the customer will buy again |
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
-- ## Caveats
-- - `--since` and `--until` change nothing: a score card says what is known now. `--grain` is by its time, that of the customer's last touchpoint that was scored.
-- - `alive` and `clv` are empty without a purchase model and a [value model](scoring.md#customer-value) in the rules.
-- - A sum of expected values says what many customers bring, not what one of them will.
--
-- ## Behind
-- - customers: true
-- - valued: clv IS NOT NULL
WITH worth AS (
    SELECT
        customer_id, time, {period} AS period, level, p_alive, clv, value_at_risk, spent,
        CASE {option each} WHEN 'level' THEN level
            WHEN 'alive' THEN CASE WHEN p_alive IS NOT NULL THEN
                (20 * least(floor(p_alive * 5), 4)::INTEGER) || '-' || (20 * least(floor(p_alive * 5), 4)::INTEGER + 20) END
        END AS part
    FROM {worth}
    WHERE {filtered}
)
-- result of worth
SELECT
    {by}
    part, count(*) AS customers, count(clv) AS valued,
    {sum p_alive} AS alive, {sum clv} AS clv, {sum value_at_risk} AS value_at_risk, {sum spent} AS spent
FROM worth
GROUP BY {by} part
ORDER BY {order} part {then_by}
