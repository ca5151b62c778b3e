"""The deciding test: workers on Kafka and `replay` on files say the same, byte for byte.

Real and simulated records go to four partitions and through two workers, one of which is stopped (or killed)
and started again on the way. What a read_committed consumer then finds equals what `replay --partitions 4`
writes for the same files.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cxstream.files.scored import decode
from cxstream.topology import CHURN_RISK, FRICTION, REJECTED, SCORED, SCORES, TOUCHPOINTS
from in_process import completed
from workers import Watcher, WorkerProcess, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

DATA = Path(__file__).parents[2] / "shared" / "data"
OLIST = DATA / "olist_sample"
BANK = DATA / "callcentre_anonymous_bank" / "data_anonymous_bank_february.txt"

PAGE = Path(__file__).parents[1] / "docs" / "scored.md"

PARTITIONS = 4
ALL_SECONDS = 400.0
# Many transactions and snapshots in little time, and a short wait for a worker that was killed.
BUSY = {
    "CXSTREAM_WORKER__FLUSH_SECONDS": "0.2",
    "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "1",
    "CXSTREAM_WORKER__SESSION_SECONDS": "6",
    # A transaction for each fetch or two, however fast the computer is.
    "CXSTREAM_WORKER__FLUSH_RECORDS": "500",
    "CXSTREAM_WORKER__QUEUE_BATCHES": "1",
    "CXSTREAM_WORKER__FETCH_BYTES": "100000",
}

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Touchpoints in event-time order: a call centre of 1999, a shop of 2016 to 2018, a simulation."""
    folder = tmp_path_factory.mktemp("touchpoints")
    bank, shop, simulated = (folder / f"{name}.ndjson" for name in ("bank", "olist", "simulated"))
    if BANK.exists() and OLIST.exists():
        completed("convert", "anonymous-bank", BANK, "--out", bank)
        completed("convert", "olist", OLIST, "--allow-errors", "--out", shop)
    options = ["--broken", 0.003, "--duplicates", 0.01, "--late", 0.02, "--trouble", 20]
    completed(
        "simulate",
        "--customers",
        1500,
        "--events",
        40_000,
        "--seed",
        11,
        "--quiet",
        *options,
        "--out",
        simulated,
    )
    return [file for file in (bank, shop, simulated) if file.exists()]


@pytest.fixture(scope="module")
def replayed(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `replay` filled."""
    folder = tmp_path_factory.mktemp("replay") / "result"
    options = ["--partitions", PARTITIONS, "--scored", folder / "scored.arrow"]
    completed("replay", *files, *options, "--out", folder, "--quiet")
    return folder


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_two_workers_equal_replay(
    how: signal.Signals,
    files: list[Path],
    replayed: Path,
    settings: Settings,
    topics: Callable[[int], None],
    tmp_path: Path,
) -> None:
    topics(PARTITIONS)
    with (
        WorkerProcess(settings, tmp_path / "one.log", **BUSY) as one,
        WorkerProcess(settings, tmp_path / "two.log", **BUSY) as two,
    ):
        one.ready()
        two.ready()
        async with Watcher(settings) as watcher:
            completed("produce", *files[:-1], "--kafka", settings.kafka) if files[:-1] else None
            cut = _first_lines(files[-1], tmp_path, 10_000)
            completed("produce", cut[0], "--kafka", settings.kafka)
            await until(_more_than(watcher, 5000), ALL_SECONDS, lambda: one.log + two.log)
            status = two.stop(how)
            assert status == (0 if how == signal.SIGTERM else -how), two.log
            completed("produce", cut[1], "--kafka", settings.kafka)
            with WorkerProcess(settings, tmp_path / "again.log", **BUSY) as again:
                again.ready()
                await until(watcher.all_committed, ALL_SECONDS, lambda: one.log + again.log)
                assert again.stop() == 0, again.log
            assert one.stop() == 0, one.log
            await _compare(watcher, replayed)
            if how == signal.SIGTERM:
                rows = sum(
                    int(dict(record.headers)["rows"])
                    for some in (await watcher.read(SCORED.name)).values()
                    for record in some
                )
                await _run_example(settings, rows)


def _more_than(watcher: Watcher, offsets: int) -> Callable[[], Any]:
    async def condition() -> bool:
        return await watcher.committed() > offsets

    return condition


def _first_lines(file: Path, folder: Path, count: int) -> tuple[Path, Path]:
    lines = file.read_bytes().splitlines(keepends=True)
    first, rest = folder / "first.ndjson", folder / "rest.ndjson"
    first.write_bytes(b"".join(lines[:count]))
    rest.write_bytes(b"".join(lines[count:]))
    return first, rest


async def _compare(watcher: Watcher, replayed: Path) -> None:
    found = {
        (topic, partition): [record.value for record in records]
        for topic in (CHURN_RISK.name, FRICTION.name)
        for partition, records in (await watcher.read(topic)).items()
    }
    expected = _expected_signals(replayed / "signals.ndjson")
    assert sum(map(len, expected.values())) > 1000, "the data say too little to tell anything"
    assert {where: len(signals) for where, signals in found.items()} == {
        where: len(signals) for where, signals in expected.items()
    }
    assert found == expected

    await _compare_scored(watcher, replayed / "scored.arrow")

    rejected = await watcher.read(REJECTED.name)
    assert Counter(_rejection(r) for records in rejected.values() for r in records) == _expected_rejections(
        replayed / "rejected.ndjson"
    )
    for records in rejected.values():
        offsets = [int(dict(record.headers)["offset"]) for record in records]
        assert offsets == sorted(set(offsets))

    cards: dict[bytes, bytes] = {}
    for records in (await watcher.read(SCORES.name)).values():
        cards.update({record.key: record.value for record in records})
    latest = sorted(value for value in cards.values() if value is not None)
    assert latest == sorted((replayed / "scores.ndjson").read_bytes().splitlines())


async def _run_example(settings: Settings, most: int) -> None:
    """The program of docs/scored.md reads the rows."""
    [program] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=ALL_SECONDS,
        check=False,
        env={**os.environ, "KAFKA": settings.kafka},
    )
    assert done.returncode == 0, done.stderr
    places = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    assert 0 < sum(int(count) for _, _, count in places) <= most
    assert sum(float(effort) for _, effort, _ in places) > 0


async def _compare_scored(watcher: Watcher, file: Path) -> None:
    with pa.ipc.open_file(file) as reader:
        expected = plain(reader.read_all())
    written = {
        (partition, record.offset): record.timestamp
        for partition, records in (await watcher.read(TOUCHPOINTS.name)).items()
        for record in records
    }
    flushes = 0
    for partition, records in (await watcher.read(SCORED.name)).items():
        tables = [decode(record.value) for record in records]
        assert [int(dict(record.headers)["rows"]) for record in records] == [len(each) for each in tables]
        assert {record.key for record in records} == {None}
        flushes += len(tables)
        found = plain(pa.concat_tables(tables))
        own = expected.filter(pc.equal(expected["partition"], partition))
        assert len(found) == len(own)
        assert found.drop_columns("arrived").equals(own.drop_columns("arrived"))
        arrived = found["arrived"].cast(pa.int64()).to_pylist()
        assert arrived == [written[partition, offset] for offset in found["offset"].to_pylist()]
    # A worker on a slow computer commits all that has come since its last transaction.
    assert flushes > PARTITIONS, "too few transactions to tell anything"


def plain(table: pa.Table) -> pa.Table:
    """A table without dictionaries, in one piece."""
    fields = [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields)).combine_chunks()


def _expected_signals(file: Path) -> dict[tuple[str, int], list[bytes]]:
    signals = defaultdict(list)
    for line in file.read_bytes().splitlines():
        event = json.loads(line)
        topic = CHURN_RISK.name if event["type"] == "cx.signal.churn_risk.v1" else FRICTION.name
        signals[topic, event["data"]["cause"]["partition"]].append(line)
    return dict(signals)


def _rejection(record: Any) -> tuple[str, str, bytes]:
    headers = dict(record.headers)
    return headers["reason"].decode(), headers["field"].decode(), record.value


def _expected_rejections(file: Path) -> Counter[tuple[str, str, bytes]]:
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    return Counter((line["reason"], line["field"], _raw(line)) for line in lines)


def _raw(line: dict[str, str]) -> bytes:
    return base64.b64decode(line["raw_base64"]) if "raw_base64" in line else line["raw"].encode()
