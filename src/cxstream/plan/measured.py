"""What the plan reckons with, and where each figure is from.

docs/performance.md has the measurements. A plan takes half of the lowest speed on a computer that does nothing else, and
somewhat more than the largest size.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        planned: what the plan takes.
        unit: of it.
        what: it is.
        source: what was measured, and by which command; or that it is assumed, and why.
    """

    planned: float
    unit: str
    what: str
    source: str


WORKER_RATE = Figure(
    110_000,
    "events/s",
    "that a worker scores on one core",
    "half of 225,000: an event takes 3.0 to 4.4 us of processor time (277,000 to 362,000 by the clock on two cores that "
    "Kafka shared, 91,000 where other programs kept both busy): python benchmarks/worker.py",
)
CUSTOMER_BYTES = Figure(
    800,
    "bytes",
    "in the memory of a worker for a customer with 5 active days",
    "680 for each of a million customers: python benchmarks/state.py",
)
DAY_BYTES = Figure(
    72,
    "bytes",
    "more for each further active day",
    "the layout of the state: a day is 48 bytes, and 24 more with an answer",
)
WORKER_BYTES = Figure(
    300e6, "bytes", "in the memory of a worker without customers", "210 MB: the worker, just started"
)
FETCH_BYTES = Figure(
    16 * 2**20,
    "bytes",
    "that wait in a worker for each partition",
    "the settings worker.fetch_bytes x worker.queue_batches",
)
EVENT_BYTES = Figure(
    270, "bytes", "of a touchpoint in Kafka, not compressed", "268 simulated: python benchmarks/files.py"
)
SCORED_BYTES = Figure(
    26,
    "bytes",
    "of a scored touchpoint in cx.scored",
    "21 to 26 in records of 1,000 rows or more: docs/scored.md",
)
SNAPSHOT_FACTOR = Figure(
    2, "times", "the state, for cx.snapshots until compaction has run", "the configuration of the topic"
)
CARD_BYTES = Figure(
    900,
    "bytes",
    "of a score card in cx.scores",
    "858 on average of 1,999 simulated customers: cxstream replay",
)
BROKER_RATE = Figure(
    44e6,
    "bytes/s",
    "that a broker takes and hands over, all copies counted",
    "half of the lowest of 331,000 to 398,000 touchpoints/s of 268 bytes, which a broker handed to aiokafka on two shared cores: "
    'make bench ARGS="--only getmany"',
)
WAREHOUSE_RATE = Figure(
    80_000,
    "events/s",
    "that the warehouse takes in on one core",
    "half of 161,000 for each second of processor time, 215,000 since (75,000 to 140,000 by the clock where other programs kept two cores "
    "busy): python benchmarks/warehouse.py",
)
WAREHOUSE_EVENT_BYTES = Figure(
    64,
    "bytes",
    "of a touchpoint in the warehouse",
    "59 to 64 with all aggregates: python benchmarks/warehouse.py",
)
WAREHOUSE_BYTES = Figure(
    2.5e9,
    "bytes",
    "in the memory of the warehouse",
    "2.2 to 2.3 GB with 20 million touchpoints of a million customers: python benchmarks/warehouse.py",
)
WAREHOUSE_CUSTOMER_BYTES = Figure(
    60,
    "bytes",
    "more in its memory for each customer",
    "52 MB for 884,000 customers, beside the memory of DuckDB: docs/performance.md",
)
BROKER_BYTES = Figure(
    6 * 2**30, "bytes", "in the memory of a broker", "assumed: 1 to 2 GB of heap, the rest for the page cache"
)
BROKER_CORES = Figure(
    2, "cores", "of a broker", "assumed: the broker of the benchmarks had two, and shared them"
)

FIGURES = (
    WORKER_RATE,
    CUSTOMER_BYTES,
    DAY_BYTES,
    WORKER_BYTES,
    FETCH_BYTES,
    EVENT_BYTES,
    SCORED_BYTES,
    SNAPSHOT_FACTOR,
    CARD_BYTES,
    BROKER_RATE,
    BROKER_CORES,
    BROKER_BYTES,
    WAREHOUSE_RATE,
    WAREHOUSE_EVENT_BYTES,
    WAREHOUSE_BYTES,
    WAREHOUSE_CUSTOMER_BYTES,
)
