"""Metrics and health of `cxstream serve`, for Prometheus and Kubernetes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

import structlog

from cxstream.model.errors import CxstreamError
from cxstream.telemetry.described import Described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A page is to take 0.3 s at most.
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30)
# Name, type, meaning and labels of each metric; docs/console.md has the same table.
METRICS = {
    "cxstream_console_requests_total": (
        "counter",
        "Requests by route and status of the answer; 499: the browser did not wait for it.",
        ("route", "status"),
    ),
    "cxstream_console_request_seconds": (
        "histogram",
        "Time to answer a request, without the streams of live pages.",
        ("route",),
    ),
    "cxstream_console_streams_open": ("gauge", "Browsers that are told of changes, one stream each.", ()),
    "cxstream_console_query_seconds": ("histogram", "Time of a query, with its wait for a thread.", ()),
    "cxstream_console_queries_total": (
        "counter",
        "Queries: answered, from the cache (cached), over console.query_seconds (stopped), not waited for (left), failed.",
        ("outcome",),
    ),
    "cxstream_console_sign_ins_total": (
        "counter",
        "Sign-ins that were accepted, refused, or not tried after too many wrong passwords (limited).",
        ("outcome",),
    ),
    "cxstream_console_read_model_timestamp_seconds": (
        "gauge",
        (
            "When the file that the console reads, the warehouse or its copy, was last written, Unix time; 0 if there is none. With "
            "--follow: when it had all that was in Kafka the last time."
        ),
        (),
    ),
    "cxstream_console_ready": ("gauge", "1 if /readyz answers 200: the read model can be read.", ()),
}
OUTCOMES = ("answered", "cached", "stopped", "left", "failed")
SIGN_INS = {303: "accepted", 401: "refused", 403: "refused", 429: "limited"}

_BEAT_SECONDS = 1.0
_HANGS_SECONDS = 30.0
_RETRY_SECONDS = 5.0

_log = structlog.get_logger("cxstream.console")


class _Source(Protocol):
    """What the pages read."""

    def written(self) -> float:
        """When it was last written, Unix time; 0 if it is not there."""
        ...

    async def check(self) -> None:
        """Read something.

        Raises:
            CxstreamError: it cannot be read.
        """
        ...


class ConsoleMetrics:
    """The metrics of one process, and whether it is well.

    Attributes:
        registry: what is served.

    Args:
        clock: monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        described = Described(METRICS)
        self.registry = described.registry
        self._requests = described.counter("cxstream_console_requests_total")
        self._seconds = described.histogram("cxstream_console_request_seconds", SECONDS)
        self._streams = described.gauge("cxstream_console_streams_open")
        self._query = described.histogram("cxstream_console_query_seconds", SECONDS)
        self._queries = described.counter("cxstream_console_queries_total")
        self._sign_ins = described.counter("cxstream_console_sign_ins_total")
        self._written = described.gauge("cxstream_console_read_model_timestamp_seconds")
        described.gauge("cxstream_console_ready").set_function(lambda: float(self.unready() is None))
        for outcome in OUTCOMES:
            self._queries.labels(outcome)
        for outcome in set(SIGN_INS.values()):
            self._sign_ins.labels(outcome)
        self._clock = clock
        self._beaten: float | None = None
        self._problem: str | None = "it has not started"

    def routes(self, routes: Iterable[str]) -> None:
        """The routes there are: their errors exist from the start, so that the first one is seen."""
        for route in routes:
            self._requests.labels(route, "500")

    def streams(self, count: Callable[[], int]) -> None:
        """How many streams are open, asked at each scrape."""
        self._streams.set_function(lambda: float(count()))

    def answered(self, route: str, status: int) -> None:
        """A request has its answer."""
        self._requests.labels(route, str(status)).inc()

    def took(self, route: str, seconds: float) -> None:
        """A request was answered in this time."""
        self._seconds.labels(route).observe(seconds)

    def queried(self, outcome: str, seconds: float | None = None) -> None:
        """A query ended; `outcome` is one of OUTCOMES."""
        self._queries.labels(outcome).inc()
        if seconds is not None:
            self._query.observe(seconds)

    def signed_in(self, status: int) -> None:
        """Somebody tried to sign in, and got this status."""
        if status in SIGN_INS:
            self._sign_ins.labels(SIGN_INS[status]).inc()

    async def watch(self, source: _Source) -> None:
        """Look whether the console works, until it is cancelled; what cannot be read is tried again."""
        self._written.set_function(source.written)
        tried = -_RETRY_SECONDS
        while True:
            self._beaten = self._clock()
            if self._problem is not None and self._beaten >= tried + _RETRY_SECONDS:
                tried = self._beaten
                try:
                    await source.check()
                except CxstreamError as error:
                    self.unreadable(str(error))
                else:
                    self.readable()
            await asyncio.sleep(_BEAT_SECONDS)

    def readable(self) -> None:
        """Something was read."""
        self._problem = None

    def unreadable(self, problem: str) -> None:
        """The read model could not be read."""
        if self._problem is None:
            _log.warning("the read model cannot be read", error=problem)
        self._problem = problem

    def hangs(self) -> str | None:
        """Why it has to be started again; None if its event loop runs."""
        if self._beaten is None or self._clock() < self._beaten + _HANGS_SECONDS:
            return None
        return f"its event loop has not run for {self._clock() - self._beaten:.0f} s"

    def unready(self) -> str | None:
        """Why pages have no figures; None if they have."""
        return self._problem or self.hangs()
