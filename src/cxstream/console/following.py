"""Takes in Kafka and serves pages in one process, so that pages show an event as soon as it is taken in.

DuckDB lets one process write a file, and nobody else read it meanwhile. So a console beside `warehouse follow` reads copies.
Here both are in one process, and pages read what the follower has committed last:

    thread: event loop of `follow` --- commits ---> Shared.version
                                         |
    threads of the reader --- cursors of the same database, each sees one commit
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from cxstream.model.errors import WarehouseError
from cxstream.warehouse.follow import follow
from cxstream.warehouse.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import duckdb

    from cxstream.settings import Settings
    from cxstream.settings import Warehouse as WarehouseSettings
    from cxstream.warehouse.metrics import FollowMetrics

# Several commits a second are not seen; one a second costs a page that is open one query a second.
_FLUSH_SECONDS = 0.5
# DuckDB remembers something of each cursor until the connection that made it is closed.
_CURSORS = 1000

_log = structlog.get_logger("cxstream.console")


class Shared(Store):
    """A warehouse that is written, and read by threads meanwhile.

    The file is replaced when it is rewritten without what was deleted; readers wait for that, and it waits for them.

    Attributes:
        version: changes with each commit.

    Args:
        path: made if it does not exist.
        settings: memory and threads.
    """

    def __init__(self, path: Path, settings: WarehouseSettings) -> None:
        self.version = 0
        self._complete = path.stat().st_mtime if path.exists() else time.time()
        self._changed = threading.Condition()
        self._readers = 0
        self._is_away = self._is_lost = False
        self._base: _Base | None = None
        super().__init__(path, settings)

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction; afterwards it is another version."""
        with super().transaction() as connection:
            yield connection
        self.version += 1

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose cursors read what is committed.

        Raises:
            WarehouseError: the file could not be opened again.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_away or self._is_lost)
            if self._is_lost:
                raise WarehouseError(f"{self.path}: it could not be rewritten: see the log, and start again")
            base = self._reading()
            base.readers += 1
            self._readers += 1
        try:
            yield base.connection
        finally:
            with self._changed:
                base.readers -= 1
                self._readers -= 1
                if base is not self._base and not base.readers:
                    base.connection.close()
                self._changed.notify_all()

    def state(self) -> tuple[int, int]:
        """Changes with the content."""
        return id(self), self.version

    def written(self) -> float:
        """When all that Kafka had was here the last time, Unix time; before the first time, when the file was written.

        An hour without an event is no old read model, and one that takes in what came last week is.
        """
        return self._complete

    def caught_up(self) -> None:
        """All that Kafka had is here."""
        self._complete = time.time()

    def release(self) -> None:
        """Nothing: the file stays open."""

    def close(self) -> None:
        """Release the file, once nobody reads it; readers wait until it is there again."""
        with self._changed:
            self._is_away = True
            self._changed.wait_for(lambda: self._readers == 0)
            if self._base is not None:
                self._base.connection.close()
                self._base = None
        super().close()

    def compact(self) -> None:
        """Rewrite the file; where that fails, readers are told instead of waiting for ever."""
        try:
            super().compact()
        except BaseException:
            with self._changed:
                self._is_lost = self._is_away
                self._changed.notify_all()
            raise

    def _reopen(self) -> None:
        super()._reopen()
        with self._changed:
            self._is_away = False
            self._changed.notify_all()

    def _reading(self) -> _Base:
        before = self._base
        if before is None or before.opened >= _CURSORS:
            # Somebody may read from the one before for long, and others begin all the time: its last reader closes it.
            self._base = _Base(self.connection.cursor())
            if before is not None and not before.readers:
                before.connection.close()
        found = cast("_Base", self._base)
        found.opened += 1
        return found


@dataclass(slots=True)
class _Base:
    """A connection that makes cursors.

    Attributes:
        connection: of DuckDB.
        readers: who works with it now.
        opened: how many have.
    """

    connection: duckdb.DuckDBPyConnection
    readers: int = 0
    opened: int = 0


class Follower:
    """Takes in what comes, in a thread.

    Args:
        settings: of the installation.
        store: the warehouse.
        failed: called in the thread when it cannot go on.
        metrics: told what is done.

    Attributes:
        error: why it could not go on.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        failed: Callable[[], None],
        metrics: FollowMetrics | None = None,
    ) -> None:
        quick = settings.warehouse.model_copy(
            update={"flush_seconds": min(settings.warehouse.flush_seconds, _FLUSH_SECONDS)}
        )
        self._settings = settings.model_copy(update={"warehouse": quick})
        self._store, self._failed, self._metrics = store, failed, metrics
        self._loop = asyncio.new_event_loop()
        self._stop, self._copy = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="follow")
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def copy(self) -> None:
        """Make a copy for readers."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._copy.set)

    def stop(self) -> None:
        """End after what is being taken in."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(
                follow(
                    self._settings,
                    self._store,
                    _log.info,
                    metrics=self._metrics,
                    ended_by=self._stop,
                    copied_by=self._copy,
                )
            )
        except BaseException as error:  # noqa: BLE001 - the thread that serves tells it
            self.error = error
            self._failed()
