-- The experiment of a churn-risk signal and the arm of its customer; NULL where none applies to its level.
ALTER TABLE risk_signals ADD COLUMN experiment VARCHAR;
ALTER TABLE risk_signals ADD COLUMN arm VARCHAR;

-- A view has the columns that its tables had when it was made.
CREATE OR REPLACE VIEW signals AS
    SELECT c.customer, s.* FROM risk_signals s JOIN customers c USING (customer_id);
