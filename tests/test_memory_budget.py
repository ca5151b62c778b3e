"""A worker shares its memory out, fetches as there is room, and does not start where there is too little."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cxstream.kafka.batch_fetch import WholeBatches
from cxstream.model.errors import SettingsError
from cxstream.settings import Settings
from cxstream.topology import TOUCHPOINTS
from cxstream.worker import memory_budget
from cxstream.worker.feed import Fetch
from cxstream.worker.memory_budget import available, budget, taken
from cxstream.worker.ownership import partitions
from cxstream.worker.ownership.partitions import Partitions
from test_batches import LIMITS, MIB, Place, batch_of, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.local.broker import LocalKafka


def with_memory(mib: int | None) -> Settings:
    base = Settings()
    return base.model_copy(update={"worker": base.worker.model_copy(update={"memory_mib": mib})})


READING = 274  # MiB for answers, inflating and results
LEAST = 250 + READING + 48


@given(mib=st.integers(64, 1 << 20))
def test_the_shares_make_up_what_is_given(mib: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_budget, "taken", lambda: 250 * MIB)
        if mib < LEAST:
            with pytest.raises(SettingsError, match=f"worker.memory_mib.* takes {LEAST} MiB"):
                budget(with_memory(mib))
            return
        found = budget(with_memory(mib))
    assert found.total == mib * MIB
    assert found.fetches >= 16 * MIB
    assert found.state >= 32 * MIB
    assert found.process + found.fetches + found.state + READING * MIB == found.total


def test_by_default_it_is_most_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 64 * MIB < available() == budget(with_memory(None)).total
    monkeypatch.setattr(memory_budget, "available", lambda: 100 * MIB)
    assert budget(with_memory(None)).fetches == 16 * MIB
    assert 10 * MIB < taken() < 64 * 1024 * MIB


@pytest.mark.parametrize(
    ("own", "limits", "mib"),
    [
        ("0::/system.slice/worker.service\n", {"system.slice/worker.service/memory.max": 1000}, 800),
        ("0::/system.slice/worker.service\n", {"system.slice/memory.max": 500}, 400),
        (
            "0::/system.slice/worker.service\n",
            {"memory.max": 500, "system.slice/worker.service/memory.max": 100},
            80,
        ),
        ("0::/\n", {"memory.max": 200}, 160),
        ("0::/../other.service\n", {"memory.max": 200}, 160),
        ("12:memory:/x\n", {"memory/memory.limit_in_bytes": 300}, 240),
        ("", {"memory.max": 300}, 240),
    ],
)
def test_it_is_most_of_what_the_container_or_the_unit_of_systemd_may_take(
    own: str, limits: dict[str, int], mib: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, limit in limits.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(f"{limit * MIB}\n")
    (tmp_path / "cgroup" / "system.slice").mkdir(parents=True, exist_ok=True)
    unlimited = tmp_path / "cgroup" / "system.slice" / "memory.max"
    if not unlimited.exists():
        unlimited.write_text("max\n")
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(memory_budget, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory_budget, "_OWN_CGROUP", tmp_path / "own")
    assert available() == mib * MIB


def owned(number: int, *costs: int) -> Any:
    return SimpleNamespace(number=number, waiting_bytes=sum(costs), full=False, engine=None)


def test_there_is_room_for_what_does_not_wait_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "taken", lambda: 250 * MIB)
    some = Partitions(with_memory(2048), None)  # type: ignore[arg-type]
    assert some.room == some.budget.fetches > 300 * MIB
    some._owned = {0: owned(0, 100 * MIB, 50 * MIB), 1: owned(1, some.budget.fetches)}
    assert some.room == -150 * MIB
    some.expect(1000)
    assert some.fetch_bytes == some.budget.fetches // 1000
    some.expect(3)
    assert some.fetch_bytes == Settings().worker.fetch_bytes


async def test_what_is_fetched_before_a_partition_runs_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be read when the next fetch comes, which may be never; standby replicas stop before a partition runs."""
    put: list[tuple[int, int]] = []
    heard: list[tuple[int, int]] = []

    def made(_: Any, __: Any, number: int, *, seen: int, **___: Any) -> Any:
        heard.append((number, seen))
        return SimpleNamespace(
            number=number, put=lambda fetch: put.append((number, fetch.cost)), full=False, waiting_bytes=0
        )

    async def kept(number: int) -> None:
        fetched = range(number, 4)
        for other in fetched:
            some.put(fetched_of(other, 7, cost=10 * number + other))
        seen.append((some.waiting_bytes, {tp.partition for tp in some.full()}))

    seen: list[tuple[int, set[int]]] = []
    settings = Settings(worker={"memory_mib": 2048, "queue_batches": 2, "standby": False})  # type: ignore[arg-type]
    some = Partitions(settings, None)  # type: ignore[arg-type]
    monkeypatch.setattr(partitions, "Partition", made)
    monkeypatch.setattr(some, "_kept", kept)
    # Of partition 2, the feed knows before this worker that it is assigned.
    some.put(fetched_of(2, 3))
    some.put(fetched_of(2, 5))
    await some.on_assigned([TopicPartition(TOUCHPOINTS.name, number) for number in (1, 2)])
    assert heard == [(1, 0), (2, 6)]
    # Of partition 3, which is another worker's, nothing is kept.
    assert put == [(1, 11), (2, 12), (2, 22)]
    assert seen == [(11 + 12, set()), (12 + 22, {2})]
    assert not some._early
    # Fetches of an assignment that is over say nothing about a later one.
    assert not some._unheard


def fetched_of(number: int, offset: int, cost: int = 0) -> Fetch:
    return Fetch(number, [SimpleNamespace(offset=offset)], None, 0, cost)


def test_it_says_once_that_memory_runs_short(monkeypatch: pytest.MonkeyPatch) -> None:
    some = Partitions(with_memory(None), None)  # type: ignore[arg-type]
    with capture_logs() as said:
        for used in (0.5, 0.9, 0.95, 0.5, 0.9):
            monkeypatch.setattr(partitions, "taken", lambda used=used: int(used * some.budget.total))
            some.check_memory()
    assert [each["log_level"] for each in said] == ["warning"] * 2


def test_a_call_takes_of_all_partitions_what_there_is_room_for() -> None:
    tps = [TopicPartition("t", p) for p in range(4)]
    log = b"".join(batch_of([record(n, bytes(500_000)) for n in range(10)], 4, 10 * b) for b in range(4))
    kept = WholeBatches(
        None, lambda *_: pytest.fail("all can be read"), dict.fromkeys(tps, log), LIMITS, 8 * MIB
    )
    for tp in tps:
        fetched = PartitionRecords(tp, MemoryRecords(log), [], 0, None, None, True, READ_COMMITTED)
        kept[tp] = FetchResult(tp, assignment=Place(0), partition_records=fetched, backoff=0)
    offsets: dict[TopicPartition, list[int]] = {tp: [] for tp in tps}
    for _ in range(100):
        kept.room, cost = 12 * MIB, 0
        for tp in tps:
            if kept[tp].has_more():
                pieces = kept[tp].getall()
                cost += sum(piece.cost for piece in pieces)
                offsets[tp] += [each.offset for piece in pieces for each in piece]
        assert cost < 12 * MIB + 8 * MIB
    assert all(found == list(range(40)) for found in offsets.values())


def test_a_fetch_knows_its_cost() -> None:
    assert Fetch(0, [None], None, 1, 7).cost == 7


@pytest.mark.broker
def test_a_worker_that_has_too_little_says_how_much_it_needs(
    broker: LocalKafka, settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(1)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "cxstream",
            "worker",
            "--kafka",
            settings.kafka,
            "--group",
            settings.worker.group,
        ],
        env={**os.environ, "CXSTREAM_WORKER__MEMORY_MIB": "100", "CXSTREAM_LOG_LEVEL": "error"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "worker.memory_mib: 100 MiB are too little" in line
