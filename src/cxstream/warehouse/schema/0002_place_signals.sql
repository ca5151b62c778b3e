-- How far the clock of each partition of cx.touchpoints was at the last record of cx.scored, ms UTC.
CREATE TABLE clocks (partition INTEGER NOT NULL, clock_ms BIGINT NOT NULL);
INSERT INTO clocks SELECT partition, max(epoch_ms(time) + behind_ms) FROM touchpoints GROUP BY partition;

-- Signals about places, as they are sent to cx.insights, and whether they have been.
CREATE TABLE place_signals (
    id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    change VARCHAR NOT NULL,
    dimension VARCHAR NOT NULL,
    channel VARCHAR,
    name VARCHAR,
    measure VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL,
    visits BIGINT NOT NULL,
    bad BIGINT NOT NULL,
    share DOUBLE NOT NULL,
    usual DOUBLE NOT NULL,
    customers BIGINT,
    reasons JSON NOT NULL,
    -- Order among those of a minute.
    n INTEGER NOT NULL,
    subject VARCHAR NOT NULL,
    event VARCHAR NOT NULL,
    sent BOOLEAN NOT NULL
);

CREATE VIEW insights AS SELECT * EXCLUDE (n, subject, event, sent) FROM place_signals;

-- What the watch over places has learned (`learned`) and what it is testing (`present`), and the last minute that it has
-- counted (`closed`), since the epoch.
CREATE TABLE watch (name VARCHAR NOT NULL, minute BIGINT NOT NULL, state BLOB NOT NULL);
