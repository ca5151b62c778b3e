-- Who writes. A writer adds 1 to the epoch when it starts, and each of its transactions checks that it still is the last.
CREATE TABLE writer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    started timestamptz NOT NULL
);
INSERT INTO writer VALUES (true, 0, '', 0, now());

-- Where each partition of each topic is to be read on.
CREATE TABLE positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- The last touchpoint of each partition that the aggregates count.
CREATE TABLE counted (partition integer PRIMARY KEY, through bigint NOT NULL);

-- Erasures: a row of the customer goes if its offset in this partition is smaller; in another partition, if its time is
-- not later. They are kept, since rows can arrive after them. `taken_out`: the aggregates do not count them any more.
CREATE TABLE erasures (
    digest bytea NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    time timestamptz NOT NULL,
    taken_out boolean NOT NULL DEFAULT false,
    PRIMARY KEY (digest, partition, "offset")
);

-- `kept_from`: what is of an earlier day is not taken in.
CREATE TABLE properties (name text PRIMARY KEY, value text NOT NULL);

-- The latest card that each partition of cx.scores has of a customer; `record` is its offset there. A customer has several
-- after partitions were added; `latest` is the one that counts. `digest` is that of receipts of erasures.
CREATE TABLE score_cards (
    digest bytea NOT NULL,
    customer text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record bigint NOT NULL,
    latest boolean NOT NULL DEFAULT true,
    time timestamptz NOT NULL,
    effort double precision NOT NULL,
    effort_halfwidth double precision NOT NULL,
    satisfaction double precision NOT NULL,
    satisfaction_halfwidth double precision NOT NULL,
    probability double precision NOT NULL,
    level text NOT NULL,
    announced text NOT NULL,
    acute double precision NOT NULL,
    last_touch timestamptz NOT NULL,
    touches_1 integer NOT NULL,
    touches_7 integer NOT NULL,
    touches_30 integer NOT NULL,
    touches_90 integer NOT NULL,
    purchases integer NOT NULL,
    last_purchase date,
    spent double precision NOT NULL,
    model text NOT NULL,
    features jsonb NOT NULL,
    PRIMARY KEY (digest, partition)
) WITH (fillfactor = 80);
CREATE INDEX score_cards_customer ON score_cards (customer);
-- Without the probability, so that most updates of a card touch no index.
CREATE INDEX score_cards_level ON score_cards (level) WHERE latest AND level <> 'none';

CREATE TABLE risk_signals (
    digest bytea NOT NULL,
    customer text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    n integer NOT NULL,
    id text NOT NULL,
    time timestamptz NOT NULL,
    change text NOT NULL,
    level text NOT NULL,
    previous text NOT NULL,
    probability double precision NOT NULL,
    effort double precision NOT NULL,
    effort_halfwidth double precision NOT NULL,
    satisfaction double precision NOT NULL,
    satisfaction_halfwidth double precision NOT NULL,
    reasons jsonb NOT NULL,
    leading_reason text,
    suggested_action text,
    model text NOT NULL,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);
CREATE INDEX risk_signals_time ON risk_signals (time);
CREATE INDEX risk_signals_digest ON risk_signals (digest);
CREATE INDEX risk_signals_customer ON risk_signals (customer, time);

CREATE TABLE friction_signals (
    digest bytea NOT NULL,
    customer text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    n integer NOT NULL,
    id text NOT NULL,
    time timestamptz NOT NULL,
    effort_points double precision NOT NULL,
    channel text NOT NULL,
    touchpoint text,
    evidence text NOT NULL,
    model text NOT NULL,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);
CREATE INDEX friction_signals_time ON friction_signals (time);
CREATE INDEX friction_signals_digest ON friction_signals (digest);
CREATE INDEX friction_signals_customer ON friction_signals (customer, time);

-- Places that left their own range: they name no customer.
CREATE TABLE place_signals (
    id text NOT NULL,
    time timestamptz NOT NULL,
    place text NOT NULL,
    change text NOT NULL,
    dimension text NOT NULL,
    channel text,
    name text,
    measure text NOT NULL,
    since timestamptz NOT NULL,
    visits bigint NOT NULL,
    bad bigint NOT NULL,
    share double precision NOT NULL,
    usual double precision NOT NULL,
    customers bigint,
    reasons jsonb NOT NULL,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);
CREATE INDEX place_signals_time ON place_signals (time);

-- Aggregates, as the warehouse has them, one row a key. `key` is a digest of the other columns of the key, which may be
-- null and may be longer than an index takes.
CREATE TABLE daily (
    key uuid NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    channel text NOT NULL,
    touchpoint text,
    stage text,
    topic text,
    level_after text NOT NULL,
    touchpoints bigint NOT NULL,
    effort_micro bigint NOT NULL,
    mood_micro bigint NOT NULL,
    effort_after_micro bigint NOT NULL,
    satisfaction_after_micro bigint NOT NULL,
    probability_after_micro bigint NOT NULL,
    repeat_contacts bigint NOT NULL,
    channel_switches bigint NOT NULL,
    rage_clicks bigint NOT NULL,
    failed bigint NOT NULL,
    late bigint NOT NULL,
    resolved bigint NOT NULL,
    unresolved bigint NOT NULL,
    abandoned bigint NOT NULL,
    transferred bigint NOT NULL,
    waited bigint NOT NULL,
    wait_ms bigint NOT NULL,
    handled bigint NOT NULL,
    handle_ms bigint NOT NULL,
    PRIMARY KEY (day, key)
) PARTITION BY RANGE (day);
CREATE INDEX daily_channel ON daily (channel, day);

CREATE TABLE daily_values (
    key uuid NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    channel text NOT NULL,
    touchpoint text,
    stage text,
    topic text,
    level_after text NOT NULL,
    measure text NOT NULL,
    bucket smallint NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (day, key)
) PARTITION BY RANGE (day);
CREATE INDEX daily_values_measure ON daily_values (measure, day);

CREATE TABLE daily_by (
    key uuid NOT NULL,
    day date NOT NULL,
    dimension text NOT NULL,
    value text NOT NULL,
    kind text NOT NULL,
    channel text NOT NULL,
    touchpoints bigint NOT NULL,
    effort_micro bigint NOT NULL,
    mood_micro bigint NOT NULL,
    effort_after_micro bigint NOT NULL,
    satisfaction_after_micro bigint NOT NULL,
    probability_after_micro bigint NOT NULL,
    repeat_contacts bigint NOT NULL,
    channel_switches bigint NOT NULL,
    rage_clicks bigint NOT NULL,
    failed bigint NOT NULL,
    late bigint NOT NULL,
    resolved bigint NOT NULL,
    unresolved bigint NOT NULL,
    abandoned bigint NOT NULL,
    transferred bigint NOT NULL,
    waited bigint NOT NULL,
    wait_ms bigint NOT NULL,
    handled bigint NOT NULL,
    handle_ms bigint NOT NULL,
    PRIMARY KEY (day, key)
) PARTITION BY RANGE (day);
CREATE INDEX daily_by_value ON daily_by (dimension, value, day);

CREATE TABLE daily_values_by (
    key uuid NOT NULL,
    day date NOT NULL,
    dimension text NOT NULL,
    value text NOT NULL,
    kind text NOT NULL,
    channel text NOT NULL,
    measure text NOT NULL,
    bucket smallint NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (day, key)
) PARTITION BY RANGE (day);
CREATE INDEX daily_values_by_value ON daily_values_by (dimension, value, day);

-- What BI reads: docs/postgresql.md.
CREATE VIEW cards AS
    SELECT customer, time, level, announced, probability, effort, effort_halfwidth, satisfaction, satisfaction_halfwidth,
        acute, last_touch, touches_1, touches_7, touches_30, touches_90, purchases, last_purchase, spent, features, model
    FROM score_cards WHERE latest;
CREATE VIEW signals AS
    SELECT id, time, customer, change, level, previous, probability, effort, effort_halfwidth, satisfaction,
        satisfaction_halfwidth, leading_reason, suggested_action, reasons, model
    FROM risk_signals;
CREATE VIEW friction AS
    SELECT id, time, customer, effort_points, channel, touchpoint, evidence, model FROM friction_signals;
CREATE VIEW place_alerts AS
    SELECT id, time, place, change, dimension, channel, name, measure, since, visits, bad, share, usual, customers, reasons
    FROM place_signals;
CREATE VIEW days AS
    SELECT day, kind, source, channel, touchpoint, stage, topic, level_after, touchpoints,
        effort_micro / 1e6::float8 AS effort, mood_micro / 1e6::float8 AS mood,
        effort_after_micro / 1e6::float8 / nullif(touchpoints, 0) AS effort_after,
        satisfaction_after_micro / 1e6::float8 / nullif(touchpoints, 0) AS satisfaction_after,
        probability_after_micro / 1e6::float8 / nullif(touchpoints, 0) AS probability_after,
        repeat_contacts, channel_switches, rage_clicks, failed, late, resolved, unresolved, abandoned, transferred,
        waited, wait_ms / 1e3::float8 AS wait_s, handled, handle_ms / 1e3::float8 AS handle_s
    FROM daily;
CREATE VIEW days_by AS
    SELECT day, dimension, value, kind, channel, touchpoints,
        effort_micro / 1e6::float8 AS effort, mood_micro / 1e6::float8 AS mood,
        effort_after_micro / 1e6::float8 / nullif(touchpoints, 0) AS effort_after,
        satisfaction_after_micro / 1e6::float8 / nullif(touchpoints, 0) AS satisfaction_after,
        probability_after_micro / 1e6::float8 / nullif(touchpoints, 0) AS probability_after,
        repeat_contacts, channel_switches, rage_clicks, failed, late, resolved, unresolved, abandoned, transferred,
        waited, wait_ms / 1e3::float8 AS wait_s, handled, handle_ms / 1e3::float8 AS handle_s
    FROM daily_by;
CREATE VIEW times AS
    SELECT day, kind, source, channel, touchpoint, stage, topic, level_after, measure,
        CASE WHEN bucket = -32768 THEN 0.0 ELSE 2 * power(1.02::double precision, bucket) / 2.02 END AS seconds, records
    FROM daily_values WHERE measure IN ('wait', 'handle');
CREATE VIEW answers AS
    SELECT day, kind, source, channel, touchpoint, stage, topic, level_after, measure,
        CASE WHEN measure = 'rating' THEN bucket / 100::float8 ELSE bucket::float8 END AS answer, records
    FROM daily_values WHERE measure IN ('score', 'rating');
CREATE VIEW nps AS
    SELECT day, channel, sum(records) AS answers,
        sum(records) FILTER (WHERE bucket >= 9) AS promoters, sum(records) FILTER (WHERE bucket <= 6) AS detractors,
        100::float8 * (coalesce(sum(records) FILTER (WHERE bucket >= 9), 0) - coalesce(sum(records) FILTER (WHERE bucket <= 6), 0))
            / sum(records) AS nps
    FROM daily_values WHERE measure = 'score' AND kind = 'survey_nps' GROUP BY day, channel;
