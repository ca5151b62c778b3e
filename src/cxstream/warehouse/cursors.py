"""Stops queries from another thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cursors:
    """Stands for a connection whose cursors can be interrupted from another thread."""

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._cursors: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.Lock()
        self._is_stopped = False

    @contextmanager
    def of(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Give cursors of this connection meanwhile; they are closed then, and with them the transactions they began.

        One that stays open keeps DuckDB from moving its write-ahead log into the file, and from rewriting the file.
        """
        self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None
                for cursor in self._cursors:
                    cursor.close()
                self._cursors.clear()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Another cursor.

        Raises:
            InterruptedError: the work has been stopped, or is done.
        """
        with self._lock:
            if self._is_stopped or self._connection is None:
                raise InterruptedError
            cursor = self._connection.cursor()
            self._cursors.append(cursor)
            return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor(), name)

    def interrupt(self) -> bool:
        """Stop the queries that run, and begin no others; False if nobody works with the connection."""
        with self._lock:
            self._is_stopped = True
            for cursor in self._cursors:
                with suppress(duckdb.ConnectionException):  # closed meanwhile
                    cursor.interrupt()
            return self._connection is not None
