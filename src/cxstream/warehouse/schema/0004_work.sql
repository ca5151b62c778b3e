-- What people do in the console, as cx.work has it: the latest record of each customer, partition and item. `record` is its offset
-- there. A customer has an item in several partitions if partitions were added since.
CREATE TABLE work (
    customer_id INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    record BIGINT NOT NULL,
    -- assignment, snooze, or note-ID.
    item VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    id VARCHAR NOT NULL,
    "by" VARCHAR NOT NULL,
    assignee VARCHAR,
    until TIMESTAMP,
    text VARCHAR
);

-- Keys of cx.work that an erasure has to end there.
CREATE TABLE work_endings (partition INTEGER NOT NULL, key BLOB NOT NULL);

CREATE VIEW work_items AS
    SELECT c.customer, w.* EXCLUDE (partition, record)
    FROM work w JOIN customers c USING (customer_id)
    QUALIFY row_number() OVER (PARTITION BY w.customer_id, w.item ORDER BY w.time DESC, w.partition DESC) = 1;
