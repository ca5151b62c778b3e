"""Records that aiokafka hands over while nothing is done with them.

python getmany.py BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS
"""

import asyncio
import sys
import time

import aiokafka

BOOTSTRAP, SOURCE = sys.argv[1:3]
TOLD_EVERY = 0.05


async def main() -> None:
    consumer = aiokafka.AIOKafkaConsumer(
        SOURCE,
        bootstrap_servers=BOOTSTRAP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    done, told = 0, 0.0
    while True:
        found = await consumer.getmany(timeout_ms=100)
        done += sum(len(records) for records in found.values())
        if done and (not found or time.monotonic() > told + TOLD_EVERY):
            told = time.monotonic()
            print("done", done, time.monotonic(), flush=True)


asyncio.run(main())
