"""Rejected records for the console: listed, explained and sent again, by the code of `cxstream rejected`.

Sending again is a job of its own: pages say how far it is, and what became of each record. As with the command, each record is sent at
most once, also where others send at the same time.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxstream.kafka.reader import reading
from cxstream.model.errors import BrokerError, CxstreamError, InputError
from cxstream.rejected.explain import Explanation, explain
from cxstream.rejected.fix import parse
from cxstream.rejected.listing import Filters, Listing, look_up, original, scan
from cxstream.rejected.record import Place, Rejection
from cxstream.rejected.resend import Order, Result, resend
from cxstream.rules.log import in_force
from cxstream.scoring.codec.vocabulary import Vocabulary, vocabulary
from cxstream.topology import REJECTED, TOUCHPOINTS

if TYPE_CHECKING:
    from cxstream.model.parameters import OwnKind
    from cxstream.settings import Settings

SHOWN = 50
"""The most records of a list."""

_SECONDS = 20.0
_JOBS, _RESULTS = 50, 200


@dataclass(slots=True)
class Job:
    """Records that are sent again.

    Attributes:
        id: of the job.
        by: who asked.
        of: what was asked for, in words of the command line.
        done: how many have been looked at.
        total: of how many; 0 while cx.rejected is read.
        counts: records by what became of them.
        results: of the first records.
        error: why it could not go on; "" if it could.
        is_over: nothing more happens.
    """

    id: str
    by: str
    of: str
    done: int = 0
    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    error: str = ""
    is_over: bool = False

    def tell(self, result: Result) -> None:
        """Note what became of a record."""
        self.counts[result.status] = self.counts.get(result.status, 0) + 1
        if len(self.results) < _RESULTS:
            self.results.append(result)

    def planned(self, done: int, total: int) -> None:
        """Note how far it is."""
        self.done, self.total = done, total


class Rejects:
    """The rejected records of an installation.

    Args:
        settings: of the installation.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_open = "kafka" in settings.model_fields_set

    async def close(self) -> None:
        """Stop what is being sent; what is not confirmed is not sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listed(self, filters: Filters) -> tuple[Listing, list[Rejection]]:
        """What is in cx.rejected, and its newest records that have not been sent again.

        Raises:
            BrokerError: Kafka does not answer in time.
        """
        try:
            async with (
                asyncio.timeout(_SECONDS),
                reading(self._settings, [REJECTED, TOUCHPOINTS]) as reader,
            ):
                listing = await scan(reader, filters)
                newest = sorted(listing.open, key=lambda each: (each.time_ms, each.place))[: -SHOWN - 1 : -1]
                await look_up(reader, listing, newest)
                return listing, newest
        except TimeoutError as error:
            raise BrokerError(
                f"{self._settings.kafka}: cx.rejected was not read within {_SECONDS:g} s: choose fewer days, or use "
                "'cxstream rejected list'"
            ) from error

    async def shown(self, text: str) -> tuple[Rejection, Explanation, bool] | None:
        """One record, what is wrong with it, and whether it has been sent again.

        Raises:
            InputError: it is no place.
            BrokerError: Kafka does not answer in time.
        """
        place = self.place(text)
        try:
            async with (
                asyncio.timeout(_SECONDS),
                reading(self._settings, [REJECTED, TOUCHPOINTS]) as reader,
            ):
                listing = await scan(reader, Filters(places=frozenset({place})))
                if not listing.found:
                    return None
                rejection = await original(reader, listing.found[0])
                limit = self._settings.scoring.max_record_bytes
                return rejection, explain(rejection, limit, await self._vocabulary()), place in listing.resent
        except TimeoutError as error:
            raise BrokerError(f"{self._settings.kafka}: not read within {_SECONDS:g} s; try again") from error

    def place(self, text: str) -> Place:
        """A place by its name.

        Raises:
            InputError: it is no place.
        """
        return Place.parse(text, self._settings.topology.touchpoints.name)

    def start(self, filters: Filters, fix: str, by: str, of: str) -> Job:
        """Begin to send records again.

        Args:
            filters: which.
            fix: TOML of a fix; "" to send them as they are.
            by: who asks.
            of: what is asked for, in words.

        Raises:
            InputError: everything is meant, or the fix is none.
        """
        if filters.empty:
            raise InputError("say which records: a place, or a reason with its field")
        job = Job(secrets.token_hex(8), by, of)
        self._jobs[job.id] = job
        while len(self._jobs) > _JOBS:
            self._jobs.popitem(last=False)
        task = asyncio.create_task(self._send(job, filters, fix))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def job(self, number: str) -> Job | None:
        """A job by its id."""
        return self._jobs.get(number)

    async def _send(self, job: Job, filters: Filters, fix: str) -> None:
        try:
            order = Order(
                filters, parse(fix) if fix else None, send=True, vocabulary=await self._vocabulary()
            )
            await resend(self._settings, order, job.tell, on_planned=job.planned)
        except CxstreamError as error:
            job.error = str(error)
        finally:
            job.is_over = True

    async def _vocabulary(self) -> Vocabulary:
        """The kinds of the rules in force in any partition; of one name, those of the newest rules."""
        kinds: dict[str, OwnKind] = {}
        for each in sorted(await in_force(self._settings), key=lambda each: each.rules.time or 0):
            kinds |= each.rules.rules.params.kinds
        return vocabulary(dict(sorted(kinds.items())))


def since_ms(days: int) -> int:
    """The time so many days ago, ms UTC."""
    return round((time.time() - days * 86400) * 1000)
