"""Partitions by month of the tables of signals and aggregates: made in advance and on demand, dropped by age.

A new partition is a table that is attached, which blocks no reader. Months are in UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import structlog

from cxstream.sink.database import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cxstream.settings import Sink
    from cxstream.sink.database import Database

BY_TIME = ("risk_signals", "friction_signals", "place_signals")
BY_DAY = ("daily", "daily_values", "daily_by", "daily_values_by")
TABLES = (*BY_TIME, *BY_DAY)
_MONTHS = 12
_KEPT_FROM = "kept_from"

log = structlog.get_logger(__name__)


def shifted(month: date, by: int) -> date:
    """The first day of a month that is `by` months later; of the first or last possible one at most."""
    count = month.year * _MONTHS + month.month - 1 + by
    count = max(_MONTHS, min(count, date.max.year * _MONTHS + _MONTHS - 1))
    return date(count // _MONTHS, count % _MONTHS + 1, 1)


class Partitions:
    """The partitions of a schema.

    Attributes:
        kept_from: what is of an earlier day is not taken in.

    Args:
        database: the database, after `migrate`.
        settings: how many months.
    """

    def __init__(self, database: Database, settings: Sink) -> None:
        self._database, self._settings = database, settings
        self._there: set[date] = set()
        self.kept_from = date.min

    def forget(self) -> None:
        """Forget what is there: a transaction that made some has failed."""
        self._there.clear()

    def make(self, months: Iterable[date]) -> None:
        """Make the partitions of these months (first days), in the open transaction."""
        for month in sorted(set(months) - self._there):
            end = shifted(month, 1)
            for table in TABLES:
                name = f"{table}_{month:%Y_%m}"
                if self._database.value("SELECT to_regclass(%s) IS NULL", [name]):
                    self._database.connection.execute(
                        f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);"
                        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{end}')".encode()
                    )
            self._there.add(month)

    def keep(self, today: date | None = None) -> None:
        """Make the partitions that will be needed soon, and drop those that are too old.

        Days that are gone do not come back with a larger `sink.keep_months`.

        Args:
            today: in UTC; that of the clock by default.

        Raises:
            FencedError: another process is the writer now.
        """
        this = (today or datetime.now(UTC).date()).replace(day=1)
        first = shifted(this, -self._settings.keep_months)
        try:
            with self._database.transaction() as connection:
                before = self._database.value("SELECT value FROM properties WHERE name = %s", [_KEPT_FROM])
                first = max(first, date.fromisoformat(before)) if before else first
                connection.execute(
                    "INSERT INTO properties VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    [_KEPT_FROM, first.isoformat()],
                )
                self.make(shifted(this, i) for i in range(self._settings.ahead_months + 1))
        except BaseException:
            self.forget()
            raise
        self.kept_from = first
        for name in self._old(first):
            self._drop(name)
        self._there = {month for month in self._there if month >= first}

    def _old(self, first: date) -> list[str]:
        """Partitions of months before `first`."""
        with self._database.translated():
            found = self._database.connection.execute(
                """SELECT c.relname, p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                JOIN pg_class p ON p.oid = i.inhparent WHERE p.relnamespace = to_regnamespace(%s)
                AND c.relkind = 'r' AND p.relname = ANY(%s)""",
                [self._settings.schema_name, list(TABLES)],
            ).fetchall()
        return sorted(name for name, table in found if name < f"{table}_{first:%Y_%m}")

    def _drop(self, name: str) -> None:
        # It waits for readers of the table, and who comes meanwhile waits for it.
        try:
            with self._database.transaction() as connection:
                connection.execute("SET LOCAL lock_timeout = '2s'")
                connection.execute(f"DROP TABLE {name}".encode())
        except UnavailableError as error:
            log.warning("a month that is too old cannot be dropped now", partition=name, error=str(error))
        else:
            log.info("a month that is too old is dropped", partition=name)


def month_of(day: date) -> date:
    """The first day of its month."""
    return day.replace(day=1)
