"""Queries for the pages: off the event loop, with a time limit, stopped when nobody waits for them any more.

The file is open only while something is read and for a moment after it: DuckDB lets no process write a file that another
one has open.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import duckdb
import structlog

from cxstream.console.metrics import ConsoleMetrics
from cxstream.console.results import Kept, Results
from cxstream.model.errors import CxstreamError, WarehouseError
from cxstream.warehouse.cursors import Cursors
from cxstream.warehouse.store import copy_of, reading
from cxstream.warehouse.views import definition, query

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cxstream.settings import Console as ConsoleSettings
    from cxstream.settings import Warehouse as WarehouseSettings
    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.selection import Selection

_log = structlog.get_logger("cxstream.console")

T = TypeVar("T")
Row = dict[str, Any]

# How often work that nobody waits for is interrupted.
_AGAIN_SECONDS = 0.1
# Rows that are left out, in memory at a time.
_AT_ONCE = 10_000


class Source(Protocol):
    """Where connections come from."""

    def open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection whose cursors read what is there now."""

    def state(self) -> Hashable:
        """Changes with the content."""

    def written(self) -> float:
        """When it was written last, in seconds since 1970."""

    def release(self) -> None:
        """Close what nobody reads."""


class TooSlowError(CxstreamError):
    """A query took longer than `console.query_seconds`."""


class Reader:
    """Answers questions from one read model.

    Args:
        path: the file of the read model.
        warehouse: memory and threads.
        console: time limit, cache, and how many queries run at once.
        metrics: told of each query.
        source: what is read instead of the file.
    """

    def __init__(
        self,
        path: Path,
        warehouse: WarehouseSettings,
        console: ConsoleSettings,
        metrics: ConsoleMetrics | None = None,
        source: Source | None = None,
    ) -> None:
        self.path = path
        self._metrics = metrics or ConsoleMetrics()
        self._console = console
        self._file = source or _File(path, warehouse)
        self._threads = ThreadPoolExecutor(console.queries, "console-query")
        self._results = Results(console.cached_results, console.old_seconds)
        # Queries whose results are shown although they are old, and how often such results have been replaced.
        self._renewing: dict[Hashable, asyncio.Task[None]] = {}
        self._renewed = 0
        self._one_at_a_time = asyncio.Lock()
        self._release: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Stop the threads and release the file."""
        if self._release is not None:
            self._release.cancel()
        for task in self._renewing.values():
            task.cancel()
        self._threads.shutdown(cancel_futures=True)
        self._file.release()

    def state(self) -> Hashable:
        """Changes with the content of the file."""
        return self._file.state()

    def shown(self) -> Hashable:
        """Changes with what pages show."""
        return self.state(), self._renewed

    def forget(self, *, all_people: bool) -> None:
        """Drop results that name customers and that nobody may be shown any more.

        Args:
            all_people: those of the read model as it is, too, since somebody asked to erase a customer.
        """
        self._results.forget(None if all_people else self.state())

    def written(self) -> float:
        """When the file that was last read was written, Unix time; 0 if it is not there."""
        return self._file.written()

    async def check(self) -> None:
        """Open the file.

        Raises:
            WarehouseError: it cannot be read.
        """
        await self.sql("SELECT 1")

    async def view(
        self, view: str | View, selection: Selection, limit: int | None = None, skip: int = 0
    ) -> list[Row]:
        """The rows of a view, as `cxstream view` shows them.

        Args:
            view: its name, or one of the console's own.
            selection: what to ask it for.
            limit: the most rows, those that are skipped with them.
            skip: so many rows at the start are left out.
        """
        found = query.result(definition.view(view) if isinstance(view, str) else view, selection, limit)
        if not skip:
            return await self.figures(found)
        return await self.job(
            lambda connection: _rows(query.run(connection, found), skip),
            (found.sql, repr(found.values), skip),
        )

    async def figures(self, found: query.Query) -> list[Row]:
        """The rows of a query that names no customers; see `cxstream.console.results`."""
        return await self.rows(found, may_be_old=True)

    async def rows(self, found: query.Query, *, may_be_old: bool = False) -> list[Row]:
        """The rows of a query, from the cache if the file has not changed."""
        return await self.job(
            lambda connection: _rows(query.run(connection, found)),
            (found.sql, repr(found.values)),
            may_be_old=may_be_old,
        )

    async def sql(self, sql: str, values: dict[str, Any] | None = None) -> list[Row]:
        """The rows of SQL over the tables and views of the schema."""
        return await self.job(
            lambda connection: _rows(connection.cursor().execute(sql, values or {})), (sql, repr(values))
        )

    async def job(
        self,
        work: Callable[[duckdb.DuckDBPyConnection], T],
        key: Hashable = None,
        *,
        may_be_old: bool = False,
    ) -> T:
        """Let a thread read; what it returns is kept under the key as long as the file does not change.

        Args:
            work: what to read.
            key: names the result; None where nobody will ask for it again.
            may_be_old: a page may get an older result, as `cxstream.console.results` says.

        Raises:
            TooSlowError: it took longer than `console.query_seconds` and was stopped.
            WarehouseError: the file cannot be read.
        """
        state = self.state()
        if key is not None:
            kept = self._results.of(key, state)
            if kept is None and may_be_old and (kept := self._results.older(key)) is not None:
                self._renew(work, key)
            if kept is not None:
                self._metrics.queried("cached")
                return cast("T", kept.value)
        cursors, began = Cursors(), time.perf_counter()
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, self._do, work, cursors)
        try:
            async with asyncio.timeout(self._console.query_seconds):
                found = await asyncio.shield(waiting)
        except (TimeoutError, asyncio.CancelledError) as error:
            _stop(cursors)
            waiting.cancel()
            waiting.add_done_callback(_forget)
            has_left = isinstance(error, asyncio.CancelledError)
            self._metrics.queried("left" if has_left else "stopped", time.perf_counter() - began)
            if has_left:
                raise
            raise TooSlowError(
                f"the query was stopped after {self._console.query_seconds:g} s: choose a shorter period, or raise "
                "console.query_seconds"
            ) from error
        except Exception as error:
            self._metrics.queried("failed", time.perf_counter() - began)
            if isinstance(error, WarehouseError):
                self._metrics.unreadable(str(error))
            raise
        finally:
            self._release_later()
        took = time.perf_counter() - began
        self._metrics.queried("answered", took)
        self._metrics.readable()
        if key is not None:
            is_figures = may_be_old or key in self._renewing
            self._results.keep(key, Kept(state, found, took, time.monotonic(), is_figures), self.state())
        return found

    def _renew(self, work: Callable[[duckdb.DuckDBPyConnection], Any], key: Hashable) -> None:
        """Compute a result again while pages show the one before."""
        if key not in self._renewing:
            self._renewing[key] = asyncio.create_task(self._renewed_after(work, key))

    async def _renewed_after(self, work: Callable[[duckdb.DuckDBPyConnection], Any], key: Hashable) -> None:
        try:
            await asyncio.sleep(self._results.pause(key))
            # Pages that wait come first.
            async with self._one_at_a_time:
                await self.job(work, key)
        except (CxstreamError, duckdb.Error) as error:
            _log.warning("figures are not renewed", error=str(error))
            self._results.failed(key)
        else:
            self._renewed += 1
        finally:
            del self._renewing[key]

    def _do(self, work: Callable[[duckdb.DuckDBPyConnection], T], cursors: Cursors) -> T:
        with self._file.open() as connection, cursors.of(connection):
            return work(cast("duckdb.DuckDBPyConnection", cursors))

    def _release_later(self) -> None:
        if self._release is not None:
            self._release.cancel()
        loop = asyncio.get_running_loop()
        self._release = loop.call_later(self._console.release_seconds, self._file.release)


class _File:
    """The file, open for as many threads as want to read it.

    DuckDB keeps one database for each path in a process. So a file that has been replaced is closed by all before anybody
    opens the new one.
    """

    def __init__(self, path: Path, settings: WarehouseSettings) -> None:
        self._path = path
        self._settings = settings
        self._changed = threading.Condition()
        self._readers = 0
        self._stack = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._state: Hashable = None
        self._reads_copy = False

    def written(self) -> float:
        found = _state(copy_of(self._path) if self._reads_copy else self._path)
        return found[0] / 1e9 if found else 0.0

    def state(self) -> Hashable:
        return tuple(_state(path) for path in (self._path, copy_of(self._path)))

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to what is there now."""
        with self._changed:
            state = self.state()
            if self._connection is not None and state != self._state:
                self._changed.wait_for(lambda: self._readers == 0)
                self._close()
            if self._connection is None:
                self._reads_copy = False
                self._connection = self._stack.enter_context(
                    reading(self._path, self._settings, self._take_note_of_copy)
                )
                self._state = state
            connection = self._connection
            self._readers += 1
        try:
            yield connection
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def _take_note_of_copy(self, _: str) -> None:
        self._reads_copy = True

    def release(self) -> None:
        """Close the file unless somebody reads it."""
        with self._changed:
            if self._readers == 0:
                self._close()

    def _close(self) -> None:
        self._connection = None
        self._stack.close()


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _rows(cursor: duckdb.DuckDBPyConnection, skip: int = 0) -> list[Row]:
    while skip > 0 and (left_out := cursor.fetchmany(min(skip, _AT_ONCE))):
        skip -= len(left_out)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _stop(cursors: Cursors) -> None:
    """Interrupt the work until it ends: a cursor forgets an interrupt that comes between two of its queries."""
    if cursors.interrupt():
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, _stop, cursors)


def _forget(done: asyncio.Future[Any]) -> None:
    """Take note of how an abandoned query ended: nobody else does."""
    if not done.cancelled():
        done.exception()
