-- The experiment of a churn-risk signal and the arm of its customer; null where none applies to its level.
ALTER TABLE risk_signals ADD COLUMN experiment text, ADD COLUMN arm text;

-- A view can only gain columns at its end.
CREATE OR REPLACE VIEW signals AS
    SELECT id, time, customer, change, level, previous, probability, effort, effort_halfwidth, satisfaction,
        satisfaction_halfwidth, leading_reason, suggested_action, reasons, model, value_at_risk, experiment, arm
    FROM risk_signals;
