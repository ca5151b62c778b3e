-- What a model of purchases says of the customer of a churn-risk signal; NULL without one.
ALTER TABLE risk_signals ADD COLUMN p_alive DOUBLE;
ALTER TABLE risk_signals ADD COLUMN clv DOUBLE;

-- A view has the columns that its tables had when it was made.
CREATE OR REPLACE VIEW signals AS
    SELECT c.customer, s.* FROM risk_signals s JOIN customers c USING (customer_id);
