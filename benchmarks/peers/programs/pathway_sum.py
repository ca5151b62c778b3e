"""The sum of waiting of each customer and day as a table of Pathway.

python pathway_sum.py BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS

Pathway keeps offsets in its own store, so a second, global count of the same stream says how far it is.
"""

import sys
from datetime import timedelta
from time import monotonic

import pathway as pw

BOOTSTRAP, SOURCE, RESULT, GROUP, FOLDER, COMMIT = sys.argv[1:7]
SETTINGS = {"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "auto.offset.reset": "earliest"}


class Touchpoint(pw.Schema):
    subject: str
    time: str
    wait_s: float | None = pw.column_definition(default_value=None)


touchpoints = pw.io.kafka.read(
    SETTINGS,
    topic=SOURCE,
    format="json",
    schema=Touchpoint,
    json_field_paths={"wait_s": "/data/wait_s"},
    autocommit_duration_ms=int(float(COMMIT) * 1000),
)
timed = touchpoints.select(
    touchpoints.subject,
    wait_s=pw.coalesce(touchpoints.wait_s, 0.0),
    at=touchpoints.time.dt.strptime("%Y-%m-%dT%H:%M:%S.%fZ"),
)
sums = timed.windowby(
    timed.at,
    window=pw.temporal.tumbling(duration=timedelta(days=1)),
    instance=timed.subject,
    behavior=pw.temporal.exactly_once_behavior(shift=timedelta(hours=1)),
).reduce(subject=pw.this._pw_instance, start=pw.this._pw_window_start, sum=pw.reducers.sum(pw.this.wait_s))
pw.io.kafka.write(sums, SETTINGS, topic_name=RESULT, format="json")


def tell(key, row, time, is_addition):
    if is_addition:
        print("done", row["n"], monotonic(), flush=True)


pw.io.subscribe(touchpoints.reduce(n=pw.reducers.count()), tell)

if __name__ == "__main__":
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(pw.persistence.Backend.filesystem(FOLDER)),
    )
