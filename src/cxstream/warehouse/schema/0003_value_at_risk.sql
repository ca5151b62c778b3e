-- What customers are expected to bring, where there is a purchase model; NULL without one.
ALTER TABLE score_cards ADD COLUMN p_alive DOUBLE;
ALTER TABLE score_cards ADD COLUMN clv DOUBLE;
ALTER TABLE score_cards ADD COLUMN value_at_risk DOUBLE;
ALTER TABLE risk_signals ADD COLUMN value_at_risk DOUBLE;

-- A view has the columns that its tables had when it was made.
CREATE OR REPLACE VIEW cards AS
    SELECT c.customer, s.* EXCLUDE (record, latest)
    FROM score_cards s JOIN customers c USING (customer_id) WHERE s.latest;
CREATE OR REPLACE VIEW signals AS
    SELECT c.customer, s.* FROM risk_signals s JOIN customers c USING (customer_id);
