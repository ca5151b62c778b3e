"""How fast the sink takes score cards, signals and touchpoints into PostgreSQL.

    python benchmarks/sink.py [--cards N] [--touchpoints N] [--url postgresql://...]

By default it starts the embedded server, which waits for the disk at each commit as a real one does. Each kind of row is
decoded from its record and written in batches of `sink.flush_rows`. The ratio is to the least that is wanted: 20,000 cards
a second, new ones and changed ones; by the clock,
and by the CPU time of this process and of the server's, where others use the computer.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson

from cxstream.files.scored import encode, record_batch
from cxstream.scoring.router import Router
from cxstream.settings import Settings
from cxstream.simulate.stream import Plan, Simulation
from cxstream.sink.address import Address
from cxstream.sink.database import Database
from cxstream.sink.embedded import Embedded
from cxstream.sink.ingest import Ingest
from cxstream.sink.partitions import Partitions
from cxstream.sink.records import Rows

WANTED = 20_000


@dataclass
class Record:
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple = ()
    timestamp: int = 0


def cards(count: int, offset: int) -> list[Record]:
    """Cards of `count` customers."""
    made = []
    for i in range(count):
        level = "none" if i % 20 else "high"
        card = {
            "specversion": "1.0",
            "id": f"cx.touchpoints-0-{offset + i}:customer-{i:07d}",
            "source": "/cxstream",
            "subject": f"customer-{i:07d}",
            "type": "cx.score.v1",
            "time": f"2026-03-{1 + i % 28:02d}T12:{i % 60:02d}:00.000Z",
            "datacontenttype": "application/json",
            "data": {
                "effort": (i + offset) % 1000 / 10,
                "effort_halfwidth": 12.25,
                "satisfaction": 61.5,
                "satisfaction_halfwidth": 9.75,
                "probability": (i + offset) % 997 / 997,
                "level": level,
                "announced": level,
                "acute": 3.25,
                "features": dict.fromkeys(
                    ("effort", "dissatisfaction", "complaint", "silence", "surge", "lapse"), 0.125
                ),
                "last_touch": "2026-03-01T12:00:00.000Z",
                "touches": {"1": 1, "7": 3, "30": 9, "90": 14},
                "purchases": 2,
                "last_purchase": "2026-02-11",
                "spent": 99.5,
                "model": "default-1@e5e58ccb",
                "p_alive": None,
                "clv": None,
            },
        }
        made.append(Record(offset + i, card["subject"].encode(), orjson.dumps(card)))
    return made


def backend_cpu(database: Database) -> float:
    """CPU seconds of the server process of this connection; 0 where it cannot be seen."""
    try:
        fields = (
            Path(f"/proc/{database.connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
        )
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    database: Database, ingest: Ingest, topic: str, records: list[Record], size: int
) -> tuple[float, float, float]:
    """Take records in; returns seconds by the clock, of this process's CPU, and of the server's."""
    began, cpu, server = time.perf_counter(), time.process_time(), backend_cpu(database)
    # As `Feed` does: one batch is written while the next one is decoded.
    with ThreadPoolExecutor(1) as thread:
        writing = None
        for start in range(0, len(records), size):
            rows, some = Rows(), records[start : start + size]
            rows.take(topic, 0, some)
            rows.positions[topic, 0] = some[-1].offset + 1
            if writing is not None:
                writing.result()
            writing = thread.submit(ingest.apply, rows)
        if writing is not None:
            writing.result()
    return time.perf_counter() - began, time.process_time() - cpu, backend_cpu(database) - server


def say(what: str, rows: int, clock: float, here: float, server: float, wanted: int | None = None) -> None:
    """Print rates by the clock, and by CPU seconds: with a core for each process, the slower of the two decides."""
    rates = {
        "by the clock": clock,
        "with a core for each process": max(here, server),
        "on one core": here + server,
    }
    shown = ", ".join(
        f"{rows / seconds:,.0f}/s {name}"
        + (f" ({rows / seconds / wanted:.2f} of what is wanted)" if wanted else "")
        for name, seconds in rates.items()
    )
    print(f"{what:>14}: {rows:,}, {shown}; CPU {here:.1f} s here, {server:.1f} s in the server")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cards", type=int, default=200_000)
    parser.add_argument("--touchpoints", type=int, default=200_000)
    parser.add_argument("--url", help="a database for it; its schema cxstream_benchmark is dropped")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        if chosen.url:
            sink, url = {}, chosen.url
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxstream-benchmark-")))
            folder.chmod(0o755)
            server = stack.enter_context(Embedded(folder / "postgresql"))
            sink, url = {"password_file": str(server.password_file)}, server.url
        settings = Settings(sink=sink | {"schema_name": "cxstream_benchmark", "keep_months": 1200})
        database = Database(Address(url, settings.sink), settings.sink)
        stack.callback(database.close)
        database.connection.execute("DROP SCHEMA IF EXISTS cxstream_benchmark CASCADE")
        database.migrate()
        database.claim()
        partitions = Partitions(database, settings.sink)
        partitions.keep()
        ingest = Ingest(database, partitions, settings)
        size = settings.sink.flush_rows
        for what, offset in (("new cards", 0), ("changed cards", chosen.cards)):
            say(
                what,
                chosen.cards,
                *run(database, ingest, "cx.scores", cards(chosen.cards, offset), size),
                WANTED,
            )
        touchpoints(database, ingest, settings, chosen.touchpoints)
        total = database.value(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname = 'score_cards'"
        )
        print(f"{'cards on disk':>16}: {total / chosen.cards:,.0f} bytes a card, indexes included")
        database.connection.execute("DROP SCHEMA cxstream_benchmark CASCADE")


def touchpoints(database: Database, ingest: Ingest, settings: Settings, count: int) -> None:
    router = Router(settings.scoring, settings.actions, partitions=1, scored=True)
    made, rows = [], 0
    for block in Simulation(Plan(customers=2000, start=1_772_323_200_000, events=count)).blocks():
        outcome = router.process(block.values)
        assert outcome.scored is not None
        made.append(Record(len(made), None, encode(record_batch(outcome.scored))))
        rows += len(outcome.scored)
    say("touchpoints", rows, *run(database, ingest, "cx.scored", made, 1))


if __name__ == "__main__":
    main()
