"""Thousands of small disasters: the worker's own code on a simulated Kafka; see simulation/README.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from simulation.broker import Broker, Row
from simulation.mutations import MUTATIONS, Mutation, applied
from simulation.run import run
from simulation.trace import Trace

# A machine that is busy with other work takes minutes.
pytestmark = pytest.mark.timeout(1200)

# `make simulation` runs twice as many; every broken worker is found within 300.
SEEDS = 1000
_BLOCK = 100
# What a block of seeds must have met, or it tests less than it says.
_MET = (
    "dies", "paused", "resumed", "rebalance", "left out", "storm", "deleted", "lost", "unanswered", "refused",
    "transaction too old", "aborted", "fetch dropped", "revoked", "closing",
    "[error] another worker has claimed the partition; this one has stopped working on it",
    "[error] partition failed; trying again",
    "asked to erase", "asked in vain", "[warning] records of a side topic wait",
)  # fmt: skip


@pytest.mark.parametrize("first", range(0, SEEDS, _BLOCK))
def test_nothing_is_lost_and_nothing_twice(first: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(first, first + _BLOCK):
        result = run(seed)
        met.update(result.counts)
        if result.failure:
            trace = "\n".join(result.trace)
            pytest.fail(
                f"{trace}\n{result.scenario}\nseed {seed}: {result.failure}\n"
                f"again: make simulation ARGS='--seed {seed} --trace'",
                pytrace=False,
            )
    assert [what for what in _MET if not met[what]] == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_a_broken_worker_is_found_out(mutation: Mutation) -> None:
    with applied(mutation):
        assert any(run(seed, **mutation.worker).failure for seed in mutation.order)


def test_the_same_seed_does_the_same() -> None:
    seeds = range(7000, 7020)
    digests = [run(seed).digest for seed in seeds]
    assert digests == [run(seed).digest for seed in reversed(seeds)][::-1]
    assert len(set(digests)) == len(digests)


def test_the_same_seed_does_the_same_in_another_process() -> None:
    """Where strings have other hashes and memory other addresses."""
    script = "from simulation.run import run; print(*(run(seed).digest for seed in range(7000, 7010)))"
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": hashes},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(found) == 1


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_command_runs_seeds() -> None:
    done = simulation("--seeds", "0..3", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 seeds in ")


def test_the_command_tells_a_failing_seed_and_how_to_see_it_again() -> None:
    done = simulation("--mutation", "one too low", "--quiet")
    assert done.returncode == 1, done.stderr
    seed = done.stdout.split("seed ")[1].split(":")[0]
    assert f"seed {seed} FAILED: " in done.stdout
    assert f"again: make simulation ARGS='--seed {seed} --trace'" in done.stdout
    assert " fetch 0 " in done.stdout


def test_the_command_refuses_nonsense() -> None:
    assert "is no range of seeds" in simulation("--seeds", "9..3").stderr
    assert "0 mutations have" in simulation("--mutation", "no such thing").stderr


class TestBroker:
    """The simulated Kafka is one as far as it matters."""

    TP = ("t", 0)

    @pytest.fixture
    def broker(self) -> Broker:
        self.now = 0.0
        return Broker(lambda: self.now, Trace(lambda: self.now))

    def write(self, broker: Broker, epoch: int, *values: bytes, sequence: int = 0) -> None:
        broker.add_partition("id", epoch, self.TP)
        broker.produce("id", epoch, self.TP, [Row(b"k", value) for value in values], sequence)

    def settle(self, broker: Broker) -> None:
        while broker.busy:
            broker.settle("id", 0)

    def values(self, broker: Broker) -> list[bytes | None]:
        return [record.value for record in broker.fetch(self.TP, 0)]

    def test_a_transaction_is_seen_once_its_marker_is_there(self, broker: Broker) -> None:
        epoch = broker.claim("id", 60.0)
        self.write(broker, epoch, b"a", b"b")
        broker.append(self.TP, [Row(b"k", b"later")])
        broker.end("id", epoch, commit=True)
        assert self.values(broker) == []
        self.settle(broker)
        assert self.values(broker) == [b"a", b"b", b"later"]
        assert broker.log(self.TP).end == 4

    def test_an_aborted_transaction_is_never_seen(self, broker: Broker) -> None:
        epoch = broker.claim("id", 60.0)
        self.write(broker, epoch, b"a")
        broker.end("id", epoch, commit=False)
        self.settle(broker)
        assert self.values(broker) == []
        assert broker.stable(self.TP) == 2

    def test_a_claim_aborts_and_fences(self, broker: Broker) -> None:
        old = broker.claim("id", 60.0)
        self.write(broker, old, b"a")
        with pytest.raises(Exception, match="ConcurrentTransactions"):
            broker.claim("id", 60.0)
        self.settle(broker)
        new = broker.claim("id", 60.0)
        for act in (
            lambda: self.write(broker, old, b"b"),
            lambda: broker.add_group("id", old, "g"),
            lambda: broker.end("id", old, commit=True),
        ):
            with pytest.raises(Exception, match="InvalidProducerEpoch"):
                act()
        self.write(broker, new, b"c")
        broker.end("id", new, commit=True)
        self.settle(broker)
        assert self.values(broker) == [b"c"]

    def test_a_batch_that_comes_again_is_written_once(self, broker: Broker) -> None:
        epoch = broker.claim("id", 60.0)
        self.write(broker, epoch, b"a")
        self.write(broker, epoch, b"a")
        self.write(broker, epoch, b"b", sequence=1)
        broker.end("id", epoch, commit=True)
        broker.end("id", epoch, commit=True)
        self.settle(broker)
        assert self.values(broker) == [b"a", b"b"]

    def test_offsets_count_once_their_marker_is_there(self, broker: Broker) -> None:
        epoch = broker.claim("id", 60.0)
        broker.add_group("id", epoch, "g")
        broker.commit_offsets("id", epoch, "g", {self.TP: 5})
        broker.end("id", epoch, commit=True)
        assert broker.committed == {}
        self.settle(broker)
        assert broker.committed == {("g", self.TP): 5}

    def test_a_transaction_that_is_too_old_is_aborted(self, broker: Broker) -> None:
        epoch = broker.claim("id", 60.0)
        self.write(broker, epoch, b"a")
        self.now = 61.0
        broker.expire()
        with pytest.raises(Exception, match="InvalidProducerEpoch"):
            broker.end("id", epoch, commit=True)
        self.settle(broker)
        assert self.values(broker) == []

    def test_compaction_keeps_the_latest_and_young_tombstones(self, broker: Broker) -> None:
        rows = [Row(b"x", b"1"), Row(b"y", b"1"), Row(b"x", b"2"), Row(b"y", None), Row(b"x", b"3")]
        broker.append(self.TP, rows)
        broker.compact(self.TP, 4)
        assert [(r.key, r.value) for r in broker.fetch(self.TP, 0)] == [
            (b"x", b"2"),
            (b"y", None),
            (b"x", b"3"),
        ]
        self.now = 1e6
        broker.compact(self.TP, 5)
        assert [(r.key, r.value) for r in broker.fetch(self.TP, 0)] == [(b"x", b"3")]
