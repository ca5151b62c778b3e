-- What a model of purchases says of the customer of a churn-risk signal; null without one.
ALTER TABLE risk_signals ADD COLUMN p_alive double precision, ADD COLUMN clv double precision;

-- A view can only gain columns at its end.
CREATE OR REPLACE VIEW signals AS
    SELECT id, time, customer, change, level, previous, probability, effort, effort_halfwidth, satisfaction,
        satisfaction_halfwidth, leading_reason, suggested_action, reasons, model, value_at_risk, experiment, arm, p_alive, clv
    FROM risk_signals;
