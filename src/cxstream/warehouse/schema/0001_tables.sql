-- Where each partition of each topic is to be read on.
CREATE TABLE positions (
    topic VARCHAR NOT NULL,
    partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL
);

-- Erasures: a row of the customer goes if its offset in this partition is smaller; in another partition, if its time is
-- not later. They are kept, since rows can arrive after them.
CREATE TABLE erasures (
    digest BLOB NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    time TIMESTAMP NOT NULL
);

-- `kept_from`: days before it are deleted and not taken in again. `deleted_at`: when the first rows were deleted that may
-- still be in unused blocks of the file. `consolidated`: rows of the aggregates after they were last added up.
CREATE TABLE properties (name VARCHAR NOT NULL, value VARCHAR);

CREATE TABLE customers (
    customer_id INTEGER NOT NULL,
    customer VARCHAR NOT NULL,
    -- As in the receipts of erasures.
    digest BLOB NOT NULL
);

CREATE TABLE touchpoints (
    day DATE NOT NULL,
    customer_id INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    time TIMESTAMP NOT NULL,
    arrived TIMESTAMP,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    touchpoint VARCHAR,
    stage VARCHAR,
    session VARCHAR,
    campaign VARCHAR,
    topic VARCHAR,
    case_id VARCHAR,
    agent VARCHAR,
    product VARCHAR,
    location VARCHAR,
    segment VARCHAR,
    order_id VARCHAR,
    currency VARCHAR,
    action VARCHAR,
    arm VARCHAR,
    action_id VARCHAR,
    reason VARCHAR,
    lang VARCHAR,
    hashtags VARCHAR[],
    wait_s DOUBLE,
    handle_s DOUBLE,
    transfers DOUBLE,
    late_days DOUBLE,
    score DOUBLE,
    rating DOUBLE,
    amount DOUBLE,
    sentiment DOUBLE,
    likes DOUBLE,
    shares DOUBLE,
    comments DOUBLE,
    resolved BOOLEAN,
    abandoned BOOLEAN,
    effort FLOAT NOT NULL,
    mood FLOAT NOT NULL,
    repeat_contact BOOLEAN NOT NULL,
    channel_switch BOOLEAN NOT NULL,
    rage_click BOOLEAN NOT NULL,
    late BOOLEAN NOT NULL,
    failed BOOLEAN NOT NULL,
    effort_after FLOAT NOT NULL,
    satisfaction_after FLOAT NOT NULL,
    probability_after FLOAT NOT NULL,
    level_after VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    amount_base DOUBLE,
    behind_ms BIGINT NOT NULL
);

-- The latest card that each partition of cx.scores has of a customer; `record` is its offset there. A customer has several
-- if records were misrouted; `latest` is the one that counts.
CREATE TABLE score_cards (
    customer_id INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    record BIGINT NOT NULL,
    latest BOOLEAN NOT NULL,
    time TIMESTAMP NOT NULL,
    effort DOUBLE NOT NULL,
    effort_halfwidth DOUBLE NOT NULL,
    satisfaction DOUBLE NOT NULL,
    satisfaction_halfwidth DOUBLE NOT NULL,
    probability DOUBLE NOT NULL,
    level VARCHAR NOT NULL,
    announced VARCHAR NOT NULL,
    acute DOUBLE NOT NULL,
    last_touch TIMESTAMP NOT NULL,
    touches_1 INTEGER NOT NULL,
    touches_7 INTEGER NOT NULL,
    touches_30 INTEGER NOT NULL,
    touches_90 INTEGER NOT NULL,
    purchases INTEGER NOT NULL,
    last_purchase DATE,
    spent DOUBLE NOT NULL,
    model VARCHAR NOT NULL,
    features JSON NOT NULL
);

CREATE TABLE risk_signals (
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    n INTEGER NOT NULL,
    id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    customer_id INTEGER NOT NULL,
    change VARCHAR NOT NULL,
    level VARCHAR NOT NULL,
    previous VARCHAR NOT NULL,
    probability DOUBLE NOT NULL,
    effort DOUBLE NOT NULL,
    effort_halfwidth DOUBLE NOT NULL,
    satisfaction DOUBLE NOT NULL,
    satisfaction_halfwidth DOUBLE NOT NULL,
    reasons JSON NOT NULL,
    leading_reason VARCHAR,
    suggested_action VARCHAR,
    model VARCHAR NOT NULL
);

CREATE TABLE friction_signals (
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    n INTEGER NOT NULL,
    id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    customer_id INTEGER NOT NULL,
    effort_points DOUBLE NOT NULL,
    channel VARCHAR NOT NULL,
    touchpoint VARCHAR,
    evidence VARCHAR NOT NULL,
    model VARCHAR NOT NULL
);

-- Counts; several rows may have the same day, source and reason.
CREATE TABLE rejected (
    day DATE,
    source VARCHAR,
    reason VARCHAR NOT NULL,
    records BIGINT NOT NULL
);

CREATE TABLE changes (
    id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    name VARCHAR NOT NULL,
    channel VARCHAR,
    touchpoint VARCHAR,
    product VARCHAR,
    location VARCHAR
);

-- Aggregates. Their rows are differences: sum them. `cxstream.warehouse.aggregates` says what is in them.
CREATE TABLE daily (
    day DATE NOT NULL,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    touchpoint VARCHAR,
    stage VARCHAR,
    topic VARCHAR,
    level_after VARCHAR NOT NULL,
    touchpoints BIGINT NOT NULL,
    effort_micro BIGINT NOT NULL,
    mood_micro BIGINT NOT NULL,
    effort_after_micro BIGINT NOT NULL,
    satisfaction_after_micro BIGINT NOT NULL,
    probability_after_micro BIGINT NOT NULL,
    repeat_contacts BIGINT NOT NULL,
    channel_switches BIGINT NOT NULL,
    rage_clicks BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    late BIGINT NOT NULL,
    resolved BIGINT NOT NULL,
    unresolved BIGINT NOT NULL,
    abandoned BIGINT NOT NULL,
    transferred BIGINT NOT NULL,
    waited BIGINT NOT NULL,
    wait_ms BIGINT NOT NULL,
    handled BIGINT NOT NULL,
    handle_ms BIGINT NOT NULL
);

CREATE TABLE daily_values (
    day DATE NOT NULL,
    kind VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    touchpoint VARCHAR,
    stage VARCHAR,
    topic VARCHAR,
    level_after VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,
    bucket SMALLINT NOT NULL,
    records BIGINT NOT NULL
);

CREATE TABLE daily_by (
    day DATE NOT NULL,
    dimension VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    touchpoints BIGINT NOT NULL,
    effort_micro BIGINT NOT NULL,
    mood_micro BIGINT NOT NULL,
    effort_after_micro BIGINT NOT NULL,
    satisfaction_after_micro BIGINT NOT NULL,
    probability_after_micro BIGINT NOT NULL,
    repeat_contacts BIGINT NOT NULL,
    channel_switches BIGINT NOT NULL,
    rage_clicks BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    late BIGINT NOT NULL,
    resolved BIGINT NOT NULL,
    unresolved BIGINT NOT NULL,
    abandoned BIGINT NOT NULL,
    transferred BIGINT NOT NULL,
    waited BIGINT NOT NULL,
    wait_ms BIGINT NOT NULL,
    handled BIGINT NOT NULL,
    handle_ms BIGINT NOT NULL
);

CREATE TABLE daily_values_by (
    day DATE NOT NULL,
    dimension VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,
    bucket SMALLINT NOT NULL,
    records BIGINT NOT NULL
);

-- A time in seconds in buckets that grow by 2%: the middle of its bucket differs from it by at most 1%. Below 1 ms it
-- counts as 0, above 1e9 s as that.
CREATE MACRO log_bucket(seconds) AS
    CASE WHEN seconds < 0.001 THEN -32768 ELSE ceil(ln(least(seconds, 1e9)) / ln(1.02)) END::SMALLINT;
CREATE MACRO bucket_value(bucket) AS
    CASE WHEN bucket = -32768 THEN 0.0 ELSE 2 * pow(1.02, bucket) / 2.02 END::DOUBLE;

CREATE VIEW customer_times AS
    SELECT customer_id, min(time) AS first_time, max(time) AS last_time FROM touchpoints GROUP BY customer_id;
CREATE VIEW cards AS
    SELECT c.customer, s.* EXCLUDE (record, latest)
    FROM score_cards s JOIN customers c USING (customer_id) WHERE s.latest;
CREATE VIEW signals AS
    SELECT c.customer, s.* FROM risk_signals s JOIN customers c USING (customer_id);
CREATE VIEW friction AS
    SELECT c.customer, f.* FROM friction_signals f JOIN customers c USING (customer_id);
