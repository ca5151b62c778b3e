"""What a seed stands for: sizes, settings, and how much goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cxstream.settings import ACTIONS, Control, Settings, Worker
from simulation import histories
from simulation.member import Feeding
from simulation.network import Weather

if TYPE_CHECKING:
    import random

GROUP = "simulation"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulation, but for the chances it takes on the way.

    Attributes:
        partitions: of every topic.
        workers: how many there are when all live.
        histories: number of the history of each partition.
        records: how many of its records are written.
        settings: of every worker.
        chunk: records that a worker applies between two looks at the event loop.
        weather: how bad the network is until it calms.
        feeding: what is wrong with the feeds until then.
        marker_seconds: mean time in which a marker follows a commit.
        batch_bytes: size of a producer's batches.
        transaction_seconds: age at which the broker ends an open transaction.
        turmoil_seconds: how long things go wrong.
        steps_between_faults: mean number of steps of the workers between two faults that hit in the middle of
            what they do; 0 for none.
        seconds_between_events: mean time between two things that happen to the cluster; 0 for none.
        transactional_source: share of writes to the source that are a transaction.
    """

    partitions: int
    workers: int
    histories: tuple[int, ...]
    records: int
    settings: Settings
    chunk: int
    weather: Weather
    feeding: Feeding
    marker_seconds: float
    batch_bytes: int
    transaction_seconds: float
    turmoil_seconds: float
    steps_between_faults: int
    seconds_between_events: float
    transactional_source: float

    def __str__(self) -> str:
        worker = self.settings.worker
        return (
            f"{self.workers} workers, {self.partitions} partitions of {self.records} records; flush "
            f"{worker.flush_seconds} s or {worker.flush_records}, snapshot {worker.snapshot_seconds} s, "
            f"{worker.cards_per_flush} cards a flush, standby {worker.standby}, session {worker.session_seconds} s, chunk {self.chunk}; "
            f"turmoil for {self.turmoil_seconds:.1f} s: a fault every {self.steps_between_faults} steps, an event "
            f"every {self.seconds_between_events} s, {self.weather}, {self.feeding}"
        )


def draw(chance: random.Random) -> Scenario:
    """A scenario; small ones are as likely as large ones, quiet ones are rare."""
    pick = chance.choice
    partitions = pick((1, 1, 1, 2, 2, 3))
    return Scenario(
        partitions=partitions,
        workers=pick((1, 2, 3, 3)),
        histories=tuple(chance.randrange(histories.POOL) for _ in range(partitions)),
        records=pick((20, 20, 40, 60, 100, histories.LENGTH)),
        settings=_settings(chance),
        chunk=pick((3, 7, 20, 2000)),
        weather=_weather(chance),
        feeding=Feeding(
            records=pick((5, 20, 60)),
            lingers=pick((0.0, 0.5, 1.0)),
            repeated=pick((0.0, 0.0, 0.1)),
            dropped=pick((0.0, 0.0, 0.1)),
            goes_back=pick((0.0, 0.0, 0.02)),
            packed=pick((False, True)),
        ),
        marker_seconds=pick((0.001, 0.02, 0.2)),
        batch_bytes=pick((1000, 5000, 100_000)),
        transaction_seconds=pick((3.0, 15.0, 60.0)),
        turmoil_seconds=pick((3.0, 8.0, 20.0)),
        steps_between_faults=pick((0, 100, 300, 1000)),
        seconds_between_events=pick((0.0, 1.5, 5.0)),
        transactional_source=pick((0.0, 0.3)),
    )


def _settings(chance: random.Random) -> Settings:
    pick = chance.choice
    # Not through constructors: they would ask the environment, and refuse sessions this short. Only proportions
    # matter here, and a short session is less to simulate.
    worker = Worker.model_construct(
        group=GROUP,
        flush_seconds=pick((0.05, 0.2, 1.0)),
        flush_records=pick((3, 20, 200_000)),
        flush_bytes=pick((2000, 2**25)),
        standby=pick((False, True)),
        snapshot_seconds=pick((0.1, 0.5, 3.0, 1000.0)),
        cards_per_flush=pick((1, 3, 20_000)),
        queue_batches=pick((1, 4)),
        session_seconds=pick((1.5, 6.0)),
        stop_seconds=pick((0.2, 3.0, 10.0)),
    )
    # Without a draw of its own: each seed keeps the scenario that it stands for.
    control = Control(key=SecretStr(histories.KEY.decode())) if worker.queue_batches > 1 else Control()
    return Settings.model_construct(
        worker=worker,
        scoring=pick(histories.params()),
        actions=dict(ACTIONS),
        replay=None,
        control=control,
    )


def _weather(chance: random.Random) -> Weather:
    pick = chance.choice
    return Weather(
        latency=pick((0.0005, 0.005, 0.05)),
        lost=pick((0.0, 0.0, 0.02, 0.1)),
        unanswered=pick((0.0, 0.0, 0.02, 0.1)),
        refused=pick((0.0, 0.0, 0.01, 0.05)),
    )
