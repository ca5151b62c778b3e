"""Kills the sink with SIGKILL at random while it writes, and checks after each time that nothing is lost, doubled or older.

    python tests/sink_kills.py [--kills 20] [--events 60000] [--seed 1]

It starts a Kafka and a PostgreSQL, writes what workers would write about simulated touchpoints while the sink runs, kills the
sink again and again, and compares the tables with those of a sink that was never killed, and with the warehouse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiokafka

from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.connection import connection
from cxstream.kafka.reader import reading
from cxstream.scoring.router import Router
from cxstream.simulate.stream import Plan, Simulation
from cxstream.sink.feed import TOPICS
from sink_log import Target, sink_settings, target
from test_warehouse_follow import cards, written
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.settings import Settings
    from cxstream.sink.embedded import Embedded

PARTITIONS = 2
_DEADLINE = 240.0
_START = 1_772_323_200_000


def start(settings: Settings, url: str, *options: str) -> subprocess.Popen[str]:
    """Run `cxstream sink` with these settings."""
    sink = settings.sink
    environment = {
        **os.environ,
        "CXSTREAM_SINK__PASSWORD_FILE": str(sink.password_file),
        "CXSTREAM_SINK__SCHEMA_NAME": sink.schema_name,
        "CXSTREAM_SINK__KEEP_MONTHS": str(sink.keep_months),
        "CXSTREAM_SINK__AHEAD_MONTHS": str(sink.ahead_months),
        "CXSTREAM_SINK__FLUSH_ROWS": str(sink.flush_rows),
        "CXSTREAM_SINK__FLUSH_SECONDS": "0.1",
        "CXSTREAM_SINK__METRICS_PORT": "0",
    }
    command = [sys.executable, "-m", "cxstream", "sink", url, "--kafka", settings.kafka, *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def new_router(settings: Settings) -> Router:
    return Router(settings.scoring, settings.actions, partitions=PARTITIONS, scored=True)


async def produce(settings: Settings, values: list[bytes], size: int, router: Router | None = None) -> None:
    """Write what workers would write, in parts of `size` touchpoints, each with the cards after it."""
    router = router or new_router(settings)
    producer = aiokafka.AIOKafkaProducer(**connection(settings), linger_ms=5)
    async with producer:
        for i in range(0, len(values), size):
            sent = []
            for what in (written(router, values[i : i + size]), cards(router)):
                for (topic, partition), some in what.items():
                    for key, value, headers in some:
                        sent.append(
                            await producer.send(topic, value, key=key, headers=headers, partition=partition)
                        )
            await asyncio.gather(*sent)


def records_of(here: Target) -> dict[tuple[bytes, int], int]:
    """Which record of cx.scores each card is."""
    found = here.select("SELECT digest, partition, record FROM score_cards")
    return {(digest, partition): record for digest, partition, record in found}


def written_rows(here: Target) -> int:
    """How many commits' worth of positions there are: it grows with each."""
    [(found,)] = here.select("SELECT coalesce(sum(next_offset), 0)::bigint FROM positions")
    return int(found)


async def run(
    settings: Settings, server: Embedded, values: list[bytes], *, kills: int, seed: int, size: int
) -> dict[str, int]:
    """Kill it so many times while `values` are produced; returns how often it was killed where, and how many rows there are.

    Raises:
        AssertionError: something is lost, doubled or older.
    """
    chance, router = random.Random(seed), new_router(settings)
    part = -(-len(values) // kills)
    in_transaction = 0
    with target(server, schema_name=settings.sink.schema_name) as looking:
        for number in range(kills):
            # There is always more to write than it can until it is killed.
            some = values[number * part : (number + 1) * part]
            producing = asyncio.create_task(produce(settings, some, size, router))
            before, cards_before = written_rows(looking), records_of(looking)
            with start(settings, server.url) as process:
                await until_grown(looking, before, process)
                await asyncio.sleep(chance.random() * 0.3)
                [(busy,)] = looking.select(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cxstream sink' "
                    "AND state <> 'idle' AND pid <> pg_backend_pid()"
                )
                in_transaction += bool(busy)
                process.kill()
                await asyncio.to_thread(process.communicate)
            cards_after = records_of(looking)
            older = [key for key, record in cards_before.items() if cards_after.get(key, record) < record]
            assert not older, f"kill {number}: {len(older)} cards are older"
            await producing
        with start(settings, server.url, "--until-end") as process:
            said, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, f"{said}\n{errors}"
        found = looking.content()
    with target(server) as whole:
        async with reading(settings, TOPICS) as reader:
            await whole.catch_up(reader)  # type: ignore[arg-type]
            await whole.take_out(reader)  # type: ignore[arg-type]
        expected = whole.content()
    for table, rows in expected.items():
        assert found[table] == rows, (
            f"{table}: {len(found[table] - rows)} wrong, {len(rows - found[table])} lost"
        )
    return {"kills": kills, "in a transaction": in_transaction} | {
        name: len(rows) for name, rows in found.items()
    }


async def until_grown(looking: Target, before: int, process: subprocess.Popen[str]) -> None:
    """Wait until the sink has committed something."""
    deadline = time.monotonic() + _DEADLINE
    while written_rows(looking) <= before:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the sink wrote nothing: {process.communicate()}")
        await asyncio.sleep(0.02)


def erasing(values: list[bytes], customers: list[str]) -> list[bytes]:
    """The touchpoints, with requests to erase customers at two thirds."""
    at = 2 * len(values) // 3
    time_of = json.loads(values[at])["time"]
    asked = []
    for customer in customers:
        event = json.loads(touchpoint(customer, 1)) | {
            "type": "cx.forget.v1",
            "id": f"f-{customer}",
            "time": time_of,
        }
        event.pop("data")
        asked.append(json.dumps(event).encode())
    return [*values[:at], *asked, *values[at:]]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that any user can enter."""
    with tempfile.TemporaryDirectory(prefix="cxstream-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def main() -> None:
    from cxstream.local.broker import LocalKafka
    from cxstream.sink.embedded import Embedded

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    simulated: list[bytes] = []
    for block in Simulation(
        Plan(customers=1000, start=_START, seed=chosen.seed, events=chosen.events)
    ).blocks():
        simulated += block.values
    named = [
        event["subject"] for event in map(_parsed, simulated[: chosen.events // 3]) if "subject" in event
    ]
    values = erasing(_usable(simulated), sorted(set(named))[:20])
    with LocalKafka() as kafka, open_folder() as folder, Embedded(folder / "server") as server:
        settings = sink_settings(server, flush_rows=100).model_copy(update={"kafka": kafka.bootstrap})
        await ensure_topics(settings, PARTITIONS)
        began = time.monotonic()
        found = await run(settings, server, values, kills=chosen.kills, seed=chosen.seed, size=250)
    print(f"nothing lost, doubled or older in {time.monotonic() - began:.0f} s: {found}")  # noqa: T201


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("subject"), str) else {}


def _usable(values: list[bytes]) -> list[bytes]:
    return [value for value in values if _parsed(value)]


if __name__ == "__main__":
    asyncio.run(main())
