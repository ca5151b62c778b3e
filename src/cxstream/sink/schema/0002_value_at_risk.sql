-- What customers are expected to bring, where there is a purchase model; null without one.
ALTER TABLE score_cards
    ADD COLUMN p_alive double precision, ADD COLUMN clv double precision, ADD COLUMN value_at_risk double precision;
ALTER TABLE risk_signals ADD COLUMN value_at_risk double precision;

-- A view can only gain columns at its end.
CREATE OR REPLACE VIEW cards AS
    SELECT customer, time, level, announced, probability, effort, effort_halfwidth, satisfaction, satisfaction_halfwidth,
        acute, last_touch, touches_1, touches_7, touches_30, touches_90, purchases, last_purchase, spent, features, model,
        p_alive, clv, value_at_risk
    FROM score_cards WHERE latest;
CREATE OR REPLACE VIEW signals AS
    SELECT id, time, customer, change, level, previous, probability, effort, effort_halfwidth, satisfaction,
        satisfaction_halfwidth, leading_reason, suggested_action, reasons, model, value_at_risk
    FROM risk_signals;
