"""The example consumer against a real Kafka: each signal acted on once, whatever is delivered again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiokafka

from conftest import in_own_loop
from cxstream.kafka import connection
from cxstream.model.params import ScoringParams
from cxstream.scoring.engine import Engine, Records
from cxstream.topology import CHURN_RISK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cxstream.settings import Settings

ROOT = Path(__file__).parent.parent
SECONDS = 60.0


def signals() -> list[tuple[bytes, bytes]]:
    """Key and value of the churn-risk signals of examples/story.ndjson."""
    lines = (ROOT / "examples" / "story.ndjson").read_bytes().splitlines()
    outcome = Engine(ScoringParams(), {}).process(Records(lines, range(len(lines))))
    return [(each.key, each.value) for each in outcome.signals if each.topic == CHURN_RISK.name]


async def send(settings: Settings, rows: Iterable[tuple[bytes, bytes]], *, abort: bool = False) -> None:
    """Write signals in a transaction, as the worker does."""
    async with aiokafka.AIOKafkaProducer(
        **connection(settings), transactional_id=settings.worker.group
    ) as producer:
        await producer.begin_transaction()
        for key, value in rows:
            await producer.send_and_wait(CHURN_RISK.name, value, key=key)
        if abort:
            await producer.abort_transaction()
        else:
            await producer.commit_transaction()


def consume(settings: Settings, folder: Path, count: int, group: str) -> list[str]:
    """The first lines of what it prints a signal, when there are so many, then end it by Ctrl-C."""
    options = ["--kafka", settings.kafka, "--group", group, "--store", str(folder / "crm.sqlite")]
    said = folder / f"{group}.txt"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "crm_consumer.py"), *options], stdout=out
        )
        try:
            deadline = time.monotonic() + SECONDS
            while len(heads := [line for line in said.read_text().split("\n") if "->" in line]) < count:
                assert process.poll() is None
                assert time.monotonic() < deadline, heads
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
            process.wait(SECONDS)
    return [line for line in said.read_text().split("\n") if "->" in line]


def test_acts_on_each_committed_signal_once(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    rows = signals()
    assert len(rows) == 5
    in_own_loop(send(settings, rows[3:], abort=True))
    in_own_loop(send(settings, [*rows[:3], *rows[:3]]))
    first = consume(settings, tmp_path, 3, "one")
    changes = [json.loads(value)["data"] for _, value in rows]
    assert [line.split(" (")[0] for line in first] == [
        f"anna: {data['previous']} -> {data['level']}" for data in changes[:3]
    ]

    # Another group begins at the beginning of the topic; the store knows what was done.
    in_own_loop(send(settings, rows[3:4]))
    second = consume(settings, tmp_path, 1, "two")
    assert [line.split(" (")[0] for line in second] == ["anna: high -> critical"]
