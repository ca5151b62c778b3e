"""From traffic, customers and retention to processes, cores, memory, disk and money."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from cxstream.plan.measured import (
    BROKER_BYTES,
    BROKER_CORES,
    BROKER_RATE,
    CARD_BYTES,
    CUSTOMER_BYTES,
    DAY_BYTES,
    EVENT_BYTES,
    FETCH_BYTES,
    SCORED_BYTES,
    SNAPSHOT_FACTOR,
    WAREHOUSE_BYTES,
    WAREHOUSE_CUSTOMER_BYTES,
    WAREHOUSE_EVENT_BYTES,
    WAREHOUSE_RATE,
    WORKER_BYTES,
    WORKER_RATE,
)

DAY_SECONDS = 86_400
GIB = 2**30
# After a stop the workers must catch up while new events come.
CATCH_UP = 2
# Room above the expected memory before a limit ends the process.
MEMORY_ROOM = 1.5
# The active days that CUSTOMER_BYTES has in it.
MEASURED_DAYS = 5
# A number of partitions cannot be changed later without new topics, so it leaves room: at least this many a worker.
PARTITIONS_A_WORKER = 4
FEWEST_PARTITIONS = 6
SCORED_DAYS = 90
# Workers and the warehouse read what producers write.
READERS = 2


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be planned for.

    Attributes:
        rate: touchpoints a second, mean of a day.
        customers: with a touchpoint in the last 90 days.
        retention_days: that cx.touchpoints keeps them.
        peak: how many times the mean rate the busiest minutes have.
        active_days: days with touchpoints in the last 90, of a customer.
        replicas: of each partition.
        compression: how many times smaller touchpoints are in Kafka.
        warehouse_days: that the warehouse keeps touchpoints; 0: there is no warehouse.
        broker_disk_gib: largest disk of a broker.
    """

    rate: float
    customers: int
    retention_days: float
    peak: float = 3.0
    active_days: float = 5.0
    replicas: int = 3
    compression: float = 1.0
    warehouse_days: float = 400.0
    broker_disk_gib: float = 8000.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Money a month: for a core, for a GiB of memory, and for a GiB of disk."""

    core: float
    memory: float
    disk: float


@dataclass(frozen=True, slots=True)
class Part:
    """Processes of one kind.

    Attributes:
        name: of the kind.
        processes: how many.
        cores: of each.
        memory_gib: of each, to set as the limit.
        disk_gib: of each.
    """

    name: str
    processes: int
    cores: int
    memory_gib: float
    disk_gib: float

    def money(self, prices: Prices) -> float:
        """Of all of its processes, a month."""
        each = self.cores * prices.core + self.memory_gib * prices.memory + self.disk_gib * prices.disk
        return self.processes * each


@dataclass(frozen=True, slots=True)
class Plan:
    """What is needed.

    Attributes:
        partitions: of the topics.
        parts: workers, brokers and, if there is one, the warehouse.
    """

    partitions: int
    parts: tuple[Part, ...]

    def money(self, prices: Prices) -> float:
        """A month."""
        return sum(part.money(prices) for part in self.parts)


def plan(load: Load) -> Plan:
    """The plan for a load."""
    busy = ceil(load.rate * load.peak * CATCH_UP / WORKER_RATE.planned) or 1
    workers = busy + 1
    partitions = _partitions(workers)
    parts = [_workers(load, busy, partitions), _brokers(load)]
    if load.warehouse_days:
        parts.append(_warehouse(load))
    return Plan(partitions, tuple(parts))


def _partitions(workers: int) -> int:
    count = FEWEST_PARTITIONS
    while count < PARTITIONS_A_WORKER * workers:
        count *= 2
    return count


def state_bytes(load: Load) -> float:
    """What all workers keep of the customers."""
    more = max(load.active_days - MEASURED_DAYS, 0) * DAY_BYTES.planned
    return load.customers * (CUSTOMER_BYTES.planned + more)


def _workers(load: Load, busy: int, partitions: int) -> Part:
    """One more than are busy; the memory of each is enough while one is missing."""
    share = ceil(partitions / busy)
    expected = WORKER_BYTES.planned + state_bytes(load) * share / partitions + share * FETCH_BYTES.planned
    return Part("worker", busy + 1, 1, _up(expected * MEMORY_ROOM / GIB, 0.5), 0)


def kafka_bytes(load: Load) -> float:
    """What Kafka keeps, of one replica."""
    events = load.rate * DAY_SECONDS
    log = events * load.retention_days * EVENT_BYTES.planned / load.compression
    scored = events * SCORED_DAYS * SCORED_BYTES.planned
    state = state_bytes(load) * SNAPSHOT_FACTOR.planned + load.customers * CARD_BYTES.planned
    return log + scored + state


def _brokers(load: Load) -> Part:
    wire = (
        load.rate * load.peak * CATCH_UP * EVENT_BYTES.planned / load.compression * (load.replicas + READERS)
    )
    disk = kafka_bytes(load) * load.replicas / GIB
    count = max(load.replicas, ceil(wire / BROKER_RATE.planned), ceil(disk / load.broker_disk_gib))
    return Part(
        "Kafka broker", count, int(BROKER_CORES.planned), BROKER_BYTES.planned / GIB, ceil(disk / count)
    )


def _warehouse(load: Load) -> Part:
    cores = ceil(load.rate * load.peak * CATCH_UP / WAREHOUSE_RATE.planned) or 1
    disk = load.rate * DAY_SECONDS * load.warehouse_days * WAREHOUSE_EVENT_BYTES.planned / GIB
    expected = WAREHOUSE_BYTES.planned + load.customers * WAREHOUSE_CUSTOMER_BYTES.planned
    return Part("warehouse", 1, cores, _up(expected * MEMORY_ROOM / GIB, 0.5), ceil(disk))


def _up(value: float, step: float) -> float:
    return ceil(value / step) * step
