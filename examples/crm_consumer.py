"""What a CRM does with churn-risk signals: read what is committed, act on each one once, remember which.

    python examples/crm_consumer.py --kafka localhost:9092 --store crm.sqlite

The store keeps the ids that were acted on. Whatever is delivered again, after a crash before the offsets were
committed or because somebody reset them, is known by its id and passed over. Ctrl-C ends it.
"""

# ruff: noqa: INP001, T201 - a program on its own, which prints

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from typing import Any

from aiokafka import AIOKafkaConsumer

TOPIC = "cx.churn-risk"


def act(event: dict[str, Any]) -> None:
    """Do what is to be done about a signal; a CRM would open a task here."""
    data = event["data"]
    why = "; ".join(reason["evidence"] for reason in data["reasons"] if reason["contribution"] > 0)
    print(
        f"{event['subject']}: {data['previous']} -> {data['level']} ({data['probability']:.0%})",
        f"do: {data['suggested_action'] or '-'}",
        f"because: {why or '-'}",
        sep="\n  ",
        flush=True,
    )


def take(store: sqlite3.Connection, event: dict[str, Any]) -> bool:
    """Note the id of a signal; False if it was noted before."""
    found = store.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event["id"], event["subject"]))
    return found.rowcount == 1


async def consume(kafka: str, group: str, store: sqlite3.Connection) -> None:
    """Read signals until cancelled, committing offsets only after what they led to is stored."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=kafka,
        group_id=group,
        isolation_level="read_committed",  # results of transactions that were aborted are not results
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=1000)
            for record in (record for records in fetched.values() for record in records):
                event = json.loads(record.value)
                with store:  # the id and what was done about it belong together
                    if take(store, event):
                        act(event)
            if fetched:
                await consumer.commit()
    finally:
        await consumer.stop()


async def main() -> None:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kafka", default="localhost:9092", metavar="HOST:PORT[,...]")
    parser.add_argument("--group", default="crm-example")
    parser.add_argument("--store", default="crm.sqlite", metavar="FILE")
    arguments = parser.parse_args()
    # It names customers: for its owner alone. SQLite gives its journal the same rights.
    os.close(os.open(arguments.store, os.O_RDWR | os.O_CREAT, 0o600))
    with contextlib.closing(sqlite3.connect(arguments.store)) as store:
        store.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, subject TEXT)")
        consuming = asyncio.create_task(consume(arguments.kafka, arguments.group, store))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, consuming.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await consuming


if __name__ == "__main__":
    asyncio.run(main())
