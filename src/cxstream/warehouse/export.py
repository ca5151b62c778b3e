"""Parquet files by day: FOLDER/touchpoints/day=2026-01-31/touchpoints.parquet, and so on.

An export replaces each file as a whole, and deletes those of days that are no longer there: exporting again after an
erasure deletes the customer from the files, too. Only files with these names are touched.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from cxstream.files.private import make_folder, put
from cxstream.model.errors import OutputError
from cxstream.warehouse import aggregates
from cxstream.warehouse.store import full_disk_told, private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb

_DAY = re.compile(r"day=\d{4}-\d\d-\d\d")
BY_DAY = {
    "touchpoints": "SELECT c.customer, t.* EXCLUDE (customer_id) FROM touchpoints t JOIN customers c USING (customer_id)",
    "signals": "SELECT CAST(time AS DATE) AS day, * EXCLUDE (customer_id) FROM signals",
    "friction": "SELECT CAST(time AS DATE) AS day, * EXCLUDE (customer_id) FROM friction",
    **{table: aggregates.summed(table) for table in aggregates.TABLES},
}
# In the order of the log, and of the keys, so that the same content gives the same files.
_ORDER = {
    "touchpoints": 'partition, "offset"',
    "signals": 'partition, "offset", n',
    "friction": 'partition, "offset", n',
}
# In one file each: they are few.
_WHOLE = {
    "cards": "SELECT * EXCLUDE (customer_id) FROM cards ORDER BY customer",
    "work": "SELECT * EXCLUDE (customer_id) FROM work_items ORDER BY customer, item",
    "changes": "SELECT * FROM changes ORDER BY time, source, id",
}


def export(
    connection: duckdb.DuckDBPyConnection, folder: Path, on_file: Callable[[Path], None] = lambda _: None
) -> int:
    """Write everything; returns the number of files.

    Args:
        connection: of the warehouse.
        folder: where to; made if it does not exist.
        on_file: called with each file.

    Raises:
        OutputError: the folder cannot be written.
        WarehouseError: the disk is full.
    """
    count = 0
    try:
        for table, query in BY_DAY.items():
            days = [
                day
                for (day,) in connection.execute(f"SELECT DISTINCT day FROM ({query}) ORDER BY 1").fetchall()
            ]
            base = folder / table
            for day in days:
                file = base / f"day={day}" / f"{table}.parquet"
                chosen = f"SELECT * EXCLUDE (day) FROM ({query}) WHERE day = DATE '{day}' ORDER BY {_ORDER.get(table, 'ALL')}"
                _write(connection, chosen, file)
                on_file(file)
                count += 1
            _drop_others(base, table, {f"day={day}" for day in days})
        for table, query in _WHOLE.items():
            file = folder / table / f"{table}.parquet"
            _write(connection, query, file)
            on_file(file)
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    return count + len(_WHOLE)


def _write(connection: duckdb.DuckDBPyConnection, query: str, file: Path) -> None:
    make_folder(file.parent)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}.partial")
    quoted = str(draft).replace("'", "''")
    try:
        with private(), full_disk_told(file):
            connection.execute(f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)")
        put(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _drop_others(base: Path, table: str, kept: set[str]) -> None:
    """Delete the files of days that are no longer there."""
    if not base.is_dir():
        return
    for each in base.iterdir():
        if _DAY.fullmatch(each.name) and each.name not in kept:
            (each / f"{table}.parquet").unlink(missing_ok=True)
            if not any(each.iterdir()):
                each.rmdir()
