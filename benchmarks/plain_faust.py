"""An idiomatic Faust agent with a plain table: the sum of waiting over 90 days of event time for each customer.

Run by pipeline.py: `python benchmarks/plain_faust.py BOOTSTRAP WINDOW SECONDS`, WINDOW one of tumbling, hopping.
Prints events processed and the seconds from the first to the last of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from datetime import timedelta
from typing import Any

import faust

BOOTSTRAP, WINDOW, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])

app = faust.App(
    f"plain-{WINDOW}-{os.getpid()}",
    broker=f"aiokafka://{BOOTSTRAP}",
    datadir=tempfile.mkdtemp(prefix="cxstream-bench-"),
    topic_partitions=4,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)


class Touchpoint(faust.Record, serializer="json", validation=False):
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]


touchpoints = app.topic("cx.touchpoints", key_type=str, value_type=Touchpoint)
table = app.Table("waiting", default=float)
if WINDOW == "tumbling":
    sums = table.tumbling(timedelta(days=90))
else:
    sums = table.hopping(timedelta(days=90), timedelta(days=1))

first = last = 0.0
count = 0


@app.agent(touchpoints)
async def waiting(stream: Any) -> None:
    global first, last, count  # noqa: PLW0603
    async for event in stream.events():
        touchpoint = event.value
        sums[touchpoint.subject] += float(touchpoint.data.get("wait_s") or 0.0)
        last = time.perf_counter()
        first = first or last
        count += 1


@app.task
async def stop() -> None:
    while not first:
        await asyncio.sleep(0.1)  # nothing has come yet
    await asyncio.sleep(SECONDS)
    # Faust takes sys.stdout for its log, and has a spinner on the real one.
    print(f"\nprocessed {count} {last - first:.3f}", file=sys.__stdout__, flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--without-web", "--loglevel", "ERROR"]
    app.main()
