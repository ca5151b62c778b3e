"""The database: connection, schema, and the one process that may write it.

A writer adds 1 to the epoch when it starts. Each of its transactions first locks the row with the epoch, and ends with an
error where it is no longer its own: a second writer fences the first, and a process that hangs and comes back after that
cannot write anything. The server ends the transaction of a process that hangs (`idle_in_transaction_session_timeout`).
"""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, sql

from cxstream.model.errors import FencedError, SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.settings import Sink
    from cxstream.sink.address import Address

_OLDEST = 140_000
# What another attempt may mend: the server restarts, a lock is held, two transactions wait for each other.
_PASSING = (
    psycopg.OperationalError,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    # The process hung in a transaction.
    errors.IdleInTransactionSessionTimeout,
    # After a switch to a standby.
    errors.ReadOnlySqlTransaction,
)


class UnavailableError(SinkError):
    """The database does not answer, or cannot do it now; another attempt may succeed."""


def migrations() -> list[tuple[int, str]]:
    """The numbered steps of the schema, in order: number and SQL."""
    folder = resources.files("cxstream.sink") / "schema"
    found = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    return sorted((int(each.name.partition("_")[0]), each.read_text(encoding="utf-8")) for each in found)


class Database:
    """A connection of the writer.

    Attributes:
        address: where it is.
        connection: in autocommit; `transaction` is the way to write.
        epoch: of this writer; 0 before `claim`.

    Args:
        address: where it is.
        settings: schema and limits.

    Raises:
        UnavailableError: it does not answer.
        SinkError: it cannot be used: why, and what to do.
    """

    def __init__(self, address: Address, settings: Sink) -> None:
        self.address, self._settings = address, settings
        self.epoch = 0
        self.connection = self._connect()

    def _connect(self) -> psycopg.Connection[Any]:
        # Applies while the connection is being made, too.
        with self.translated():
            connection = psycopg.connect(
                **self.address.parameters(),
                autocommit=True,
                client_encoding="UTF8",
                application_name="cxstream sink",
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                tcp_user_timeout=self._settings.statement_seconds * 1000,
            )
        try:
            with self.translated():
                self._check(connection)
                milliseconds = self._settings.statement_seconds * 1000
                for name, value in {
                    "search_path": f"{self._settings.schema_name}, pg_temp",
                    "timezone": "UTC",
                    "datestyle": "ISO",
                    "statement_timeout": str(milliseconds),
                    "lock_timeout": str(milliseconds // 2),
                    "idle_in_transaction_session_timeout": str(milliseconds),
                    "standard_conforming_strings": "on",
                    # To compile a statement takes longer than to run it.
                    "jit": "off",
                }.items():
                    connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        if connection.info.server_version < _OLDEST:
            raise SinkError(
                f"{self.address.shown}: PostgreSQL {connection.info.server_version // 10_000}: the sink needs version 14 or "
                "later"
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise SinkError(
                f"{self.address.shown}: the database's encoding is {encoding}, which does not have all characters: create "
                "one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
            )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def reconnect(self) -> None:
        """Connect again, as the same writer.

        Raises:
            UnavailableError: it does not answer.
        """
        self.close()
        self.connection = self._connect()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of PostgreSQL as ours.

        Raises:
            UnavailableError: another attempt may succeed.
            SinkError: it will not.
        """
        try:
            yield
        except (errors.InvalidPassword, errors.InvalidAuthorizationSpecification) as error:
            raise SinkError(self._told(error)) from None
        except errors.InsufficientPrivilege as error:
            raise SinkError(
                f"{self._told(error)}: docs/postgresql.md says which rights the sink's user needs"
            ) from None
        except errors.InvalidCatalogName as error:
            raise SinkError(f"{self._told(error)}: create it with CREATE DATABASE") from None
        except _PASSING as error:
            raise UnavailableError(self._told(error)) from None
        except (psycopg.Error, UnicodeError) as error:
            raise SinkError(self._told(error)) from None

    def _told(self, error: Exception) -> str:
        code = getattr(error, "sqlstate", None)
        text = self.address.without_password(str(error)) or type(error).__name__
        return f"{self.address.shown}: {text}{f' ({code})' if code else ''}"

    def migrate(self) -> None:
        """Bring the schema up to date; one process at a time does it.

        Raises:
            SinkError: a later version of cxstream has made it, or it holds something else.
        """
        schema = self._settings.schema_name
        lock = int.from_bytes(hashlib.sha256(f"cxstream sink {schema}".encode()).digest()[:8], signed=True)
        with self.translated(), self.connection.transaction():
            run = self.connection.execute
            run("SELECT pg_advisory_xact_lock(%s)", [lock])
            version = self.version()
            newest = migrations()[-1][0]
            if version is None:
                raise SinkError(
                    f"{self.address.shown}: the schema {schema} has tables of something else: name another with the setting "
                    "sink.schema_name"
                )
            if version > newest:
                raise SinkError(
                    f"{self.address.shown}: the schema {schema} is of a later version of cxstream (step {version}, this one "
                    f"knows {newest}): use that version, or name another schema with the setting sink.schema_name"
                )
            if not version and not self._has_schema():
                run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            for number, statements in migrations():
                if number > version:
                    run(
                        "CREATE TABLE IF NOT EXISTS migrations (number integer PRIMARY KEY, at timestamptz NOT NULL "
                        "DEFAULT now())"
                    )
                    run(statements.encode())
                    run("INSERT INTO migrations VALUES (%s)", [number])

    def _has_schema(self) -> bool:
        return bool(self.value("SELECT to_regnamespace(%s) IS NOT NULL", [self._settings.schema_name]))

    def drop(self) -> None:
        """Drop the schema, if it is there.

        Raises:
            SinkError: it holds something else, or this user may not drop it.
        """
        with self.translated():
            if self.version() is None:
                raise SinkError(
                    f"{self.address.shown}: the schema {self._settings.schema_name} has tables of something else: rename it"
                )
            schema = sql.Identifier(self._settings.schema_name)
            self.connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))

    def version(self) -> int | None:
        """The last step of the schema; 0 if it is empty, None if it is something else's."""
        tables = self.connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", [self._settings.schema_name]
        ).fetchall()
        if not tables:
            return 0
        if ("migrations",) not in tables or ("writer",) not in tables:
            return None
        return int(self.value("SELECT coalesce(max(number), 0) FROM migrations"))

    def claim(self) -> None:
        """Become the writer: what wrote until now is fenced.

        Raises:
            UnavailableError: another writer is in the middle of a transaction for too long.
        """
        with self.translated():
            self.epoch = self.value(
                "UPDATE writer SET epoch = epoch + 1, host = %s, pid = %s, started = now() RETURNING epoch",
                [socket.gethostname(), os.getpid()],
            )

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction of the writer: all of it is in the database afterwards, or nothing.

        Raises:
            FencedError: another process is the writer now.
            UnavailableError: the connection is lost, or something took too long.
            SinkError: PostgreSQL refuses something.
        """
        with self.translated(), self.connection.transaction():
            row = self.connection.execute(
                "SELECT epoch, host, pid, started FROM writer FOR UPDATE"
            ).fetchone()
            if row is None or row[0] != self.epoch:
                who = (
                    "nobody"
                    if row is None
                    else f"process {row[2]} on {row[1]}, since {row[3]:%Y-%m-%d %H:%M:%SZ}"
                )
                raise FencedError(
                    f"{self.address.shown}: this process no longer writes the schema {self._settings.schema_name}; the "
                    f"writer is {who}: run one 'cxstream sink' for a schema"
                )
            yield self.connection

    def value(self, query: str, parameters: list[Any] | None = None) -> Any:
        """The first column of the first row; None without one."""
        row = self.connection.execute(query.encode(), parameters).fetchone()
        return None if row is None else row[0]
