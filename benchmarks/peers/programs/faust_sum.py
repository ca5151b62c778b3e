"""The sum of waiting of each customer and day as an agent of Faust with a windowed table, as its documentation has it.

python faust_sum.py BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS

A table is its own result: Faust writes each change to the table's changelog topic.
"""

import sys
from datetime import timedelta

import faust

BOOTSTRAP, SOURCE, _RESULT, GROUP, FOLDER, COMMIT = sys.argv[1:7]

app = faust.App(
    GROUP,
    broker=f"aiokafka://{BOOTSTRAP}",
    datadir=FOLDER,
    topic_partitions=4,
    broker_commit_interval=float(COMMIT),
    consumer_auto_offset_reset="earliest",
)


class Data(faust.Record, validation=False):
    wait_s: float = 0.0


class Touchpoint(faust.Record, serializer="json", validation=False):
    subject: str
    data: Data


touchpoints = app.topic(SOURCE, key_type=str, value_type=Touchpoint)
waiting = app.Table("waiting", default=float).tumbling(timedelta(days=1), expires=timedelta(days=2))


@app.agent(touchpoints)
async def add(stream):
    async for touchpoint in stream:
        waiting[touchpoint.subject] += touchpoint.data.wait_s or 0.0


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--without-web", "--loglevel", "ERROR"]
    app.main()
