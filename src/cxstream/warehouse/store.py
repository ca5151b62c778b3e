"""The file: who has it open, its schema, its permissions, and how it is rewritten.

DuckDB locks the file: one process may write, or several may read. Readers that come while one writes get a message that
says so, or read the copy that the writer has published beside the file (FILE.copy).

A deleted row stays in the file as bytes of an unused block until something overwrites it. `compact` copies what is
left into a new file, which takes the place of the old one.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import duckdb

from cxstream.files.private import FOLDER, create, names_to_disk
from cxstream.model.errors import WarehouseError
from cxstream.warehouse import aggregates
from cxstream.warehouse.known import Known
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.settings import Warehouse as WarehouseSettings

# Every table with data, in an order in which they can be filled.
TABLES = (
    "positions",
    "erasures",
    "properties",
    "customers",
    "touchpoints",
    "score_cards",
    "risk_signals",
    "friction_signals",
    "rejected",
    "changes",
    "work",
    "work_endings",
    "clocks",
    "place_signals",
    "watch",
    "daily",
    "daily_values",
    "daily_by",
    "daily_values_by",
)
# How long the write-ahead log may become before it is moved into the file.
_LOG = "128MiB"
_HOLDER = re.compile(r"PID (\d+)")
_COPY = ".copy"
# Where a DuckDB file says that it is one.
_MAGIC = slice(8, 12)
_SQLITE = b"SQLite format 3\0"
_SQLITE_LENGTH = len(_SQLITE)
# What DuckDB says of a file that is damaged or cut off.
_SIGNS_OF_DAMAGE = (
    "Corrupt", "corrupt", "checksum", "read enough bytes", "not a valid DuckDB", "deserializ", "Serialization",
)  # fmt: skip
# What DuckDB says, in errors of several kinds, when something cannot be written.
_SIGNS_OF_FULL = ("Could not write", "No space left", "File too large", "quota exceeded")
# Another process has to copy the file: a process that closes any descriptor of a file loses its POSIX locks on it.
_CAT = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer, 1 << 20)"


def migrations() -> list[tuple[int, str]]:
    """The numbered steps of the schema, in order: number and SQL."""
    folder = resources.files("cxstream.warehouse") / "schema"
    found = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    return sorted((int(each.name.partition("_")[0]), each.read_text(encoding="utf-8")) for each in found)


@contextmanager
def private() -> Iterator[None]:
    """Files that DuckDB makes meanwhile are for their owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


class Store:
    """A warehouse that is open for writing.

    Attributes:
        path: the file.
        connection: DuckDB's.
        threads: DuckDB's.
        known: the number (`customer_id`) of each customer, in memory.

    Args:
        path: made if it does not exist.
        settings: memory and threads.

    Raises:
        WarehouseError: it cannot be opened or written, is no warehouse, or another process has it open.
    """

    def __init__(self, path: Path, settings: WarehouseSettings) -> None:
        self.path = path
        self._settings = settings
        self.threads = settings.threads
        self.known = Known()
        # Made here, and nothing has been committed since.
        self._is_unused = False
        self.connection = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        # A link is somebody's, even if it leads nowhere yet.
        there = os.path.lexists(self.path)
        with private():
            spill = _spill(self.path)
            with _writing(spill):
                spill.mkdir(FOLDER, exist_ok=True)
            try:
                connection = self._connected(spill, there=there)
                try:
                    with _translated(self.path):
                        # Another process may have made it meanwhile.
                        self._is_unused = not there and _version(connection) == 0
                    if not self._is_unused:
                        with _writing(self.path):
                            self.path.chmod(0o600)
                    with _translated(self.path):
                        _migrate(connection, self.path)
                except BaseException:
                    if self._is_unused:
                        _discard(self.path, connection)
                    connection.close()
                    raise
            except BaseException:
                self._drop_spill()
                raise
        return connection

    def _connected(self, spill: Path, *, there: bool) -> duckdb.DuckDBPyConnection:
        try:
            return _connect(self.path, self._settings, spill, read_only=False)
        except WarehouseError as error:
            # What is left of a file that cannot be made; one that another process has open was made by that one.
            if not there and not isinstance(error.__cause__, duckdb.IOException):
                remove(self.path)
            raise

    def _drop_spill(self) -> None:
        # Another process may use it.
        with suppress(OSError):
            _spill(self.path).rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None and self._is_unused:
            # Nobody needs a file without records because Kafka did not answer.
            _discard(self.path, self.connection)
        self.close()

    def close(self) -> None:
        """Write everything into the file and release it."""
        # Another process may write it from now on.
        self._is_unused = False
        with private():
            self.connection.close()
            self._drop_spill()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A transaction: all of it is in the file afterwards, or nothing; its temporary tables are gone.

        Raises:
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        with private(), _translated(self.path):
            self.connection.execute("BEGIN")
            try:
                yield self.connection
                self._drop_temporary()
                self._is_unused = False
                self.connection.execute("COMMIT")
            except BaseException:
                self.known.clear()
                # A failed commit has ended the transaction already.
                with suppress(duckdb.Error):
                    self.connection.execute("ROLLBACK")
                raise

    def _drop_temporary(self) -> None:
        """Drop temporary tables: names of customers who are erased later would stay in memory or in the spill folder."""
        found = self.connection.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()
        for (name,) in found:
            self.connection.execute(f'DROP TABLE temp."{name}"')

    def caught_up(self) -> None:
        """All that Kafka had is here: nothing follows from it for a file alone."""

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log into the file."""
        with private(), _translated(self.path):
            self.connection.execute("CHECKPOINT")

    def compact(self) -> None:
        """Rewrite the file, so that nothing deleted is left in it.

        Raises:
            WarehouseError: the disk is full.
        """
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.partial")
        try:
            with Store(fresh, self._settings) as target, private(), _translated(self.path):
                self.checkpoint()
                target.take_over(self)
                target.set("deleted_at", None)
                target.set("consolidated", str(aggregates.rows(target.connection)))
            require_whole(fresh, self.path)
            self.close()
            with _writing(self.path):
                fresh.replace(self.path)
                names_to_disk(self.path.parent)
        finally:
            remove(fresh)
        self._reopen()

    def replace_by(self, other: Path) -> None:
        """Put another warehouse, which is closed, in the place of this one.

        Raises:
            WarehouseError: the disk is full.
        """
        require_whole(other, self.path)
        self.close()
        with _writing(self.path):
            other.replace(self.path)
            names_to_disk(self.path.parent)
        self._reopen()

    def _reopen(self) -> None:
        self.known.clear()
        self.connection = self._open()
        if copy_of(self.path).exists():
            # It has what this file no longer has.
            self.publish()

    def take_over(self, source: Store) -> None:
        """Fill this new warehouse with the rows of another one.

        Aggregates are added up: the rows that an erasure has appended are the sums of one customer, with the opposite sign.
        """
        for table in TABLES:
            rows = (
                f"{aggregates.summed(table)} ORDER BY day" if table in aggregates.TABLES else f"FROM {table}"
            )
            reader = source.connection.sql(rows).to_arrow_reader(200_000)
            self.connection.register("copied", reader)
            columns = ", ".join(f'"{name}"' for name in _column_names(self.connection, table))
            self.connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM copied")
            self.connection.unregister("copied")

    def publish(self) -> None:
        """Make a copy for readers beside the file.

        Raises:
            WarehouseError: the disk is full.
        """
        target = copy_of(self.path)
        draft = self.path.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
        self.checkpoint()
        try:
            with create(draft) as sink:
                subprocess.run([sys.executable, "-I", "-c", _CAT, self.path], stdout=sink, check=True)  # noqa: S603
            # A copy that a loss of power cuts off is made again when the writer begins: it does not wait for the disk.
            draft.replace(target)
        except OSError as error:
            raise WarehouseError(f"{target}: cannot be written: {error.strerror}") from error
        except subprocess.CalledProcessError as error:
            raise WarehouseError(f"{target}: cannot be written: is there space on the disk?") from error
        finally:
            draft.unlink(missing_ok=True)

    def get(self, name: str) -> str | None:
        """A property."""
        found: str | None = value(self.connection, "SELECT value FROM properties WHERE name = ?", [name])
        return found

    def set(self, name: str, text: str | None) -> None:
        """Set a property; None removes it."""
        self.connection.execute("DELETE FROM properties WHERE name = ?", [name])
        if text is not None:
            self.connection.execute("INSERT INTO properties VALUES (?, ?)", [name, text])


def _spill(path: Path) -> Path:
    """The folder for what does not fit into memory."""
    return path.with_name(f".{path.name}.spill")


def remove(path: Path) -> None:
    """Delete a warehouse that nobody has open, with its write-ahead log."""
    path.unlink(missing_ok=True)
    _log_of(path).unlink(missing_ok=True)


def _discard(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Delete a warehouse while it is open, and so locked: once it is closed, another process may open it."""
    with suppress(duckdb.Error):
        # Else a log would be deleted when it is closed, which may be that of a new file by then.
        connection.execute("CHECKPOINT")
    remove(path)


def require_whole(draft: Path, path: Path) -> None:
    """Refuse a closed warehouse that is to take the place of `path` and does not have everything itself.

    DuckDB moves the write-ahead log into the file when it is closed, waits for the disk, and does not say if that fails.

    Raises:
        WarehouseError: there is a write-ahead log still.
    """
    if _log_of(draft).exists():
        raise WarehouseError(f"{path}: cannot be written: is there space on the disk?")


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def check_unused(path: Path, settings: WarehouseSettings) -> None:
    """Refuse a DuckDB file that another process has open for writing; any other file will do.

    Raises:
        WarehouseError: another process writes the file.
    """
    try:
        # DuckDB would read a CSV or Parquet file as data, all of it.
        with path.open("rb") as file:
            if file.read(_MAGIC.stop)[_MAGIC] != b"DUCK":
                return
    except OSError:
        return
    with TemporaryDirectory(prefix="cxstream-") as folder:
        try:
            _connect(path, settings, Path(folder), read_only=True).close()
        except WarehouseError as error:
            if isinstance(error.__cause__, duckdb.IOException):
                raise
        except duckdb.Error:
            # A damaged file, or one of another version of DuckDB.
            return


def copy_of(path: Path) -> Path:
    """Where the copy for readers is."""
    return path.with_name(path.name + _COPY)


@contextmanager
def reading(
    path: Path, settings: WarehouseSettings, say: Callable[[str], None] = lambda _: None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that only reads.

    Args:
        path: the file. If a process writes it, the copy that it has published is read instead.
        settings: memory and threads.
        say: told if the copy is read.

    Raises:
        WarehouseError: there is no such file, it is no warehouse or damaged, or it is being written and there is no copy.
    """
    if not path.exists():
        raise WarehouseError(
            f"{path}: no such warehouse: build one with 'cxstream replay IN... --warehouse {path}' or "
            f"'cxstream warehouse follow --warehouse {path}'"
        )
    check_form(path)
    with TemporaryDirectory(prefix="cxstream-") as folder:
        spill = Path(folder)
        try:
            connection = _connect(path, settings, spill, read_only=True)
        except WarehouseError as busy:
            copy = copy_of(path)
            if not isinstance(busy.__cause__, duckdb.IOException) or not copy.exists():
                raise
            say(f"{path} is being written; this is its copy {copy}")
            connection = _connect(copy, settings, spill, read_only=True)
        try:
            with _translated(path):
                _check_version(connection, path)
                yield connection
        finally:
            connection.close()


def _connect(
    path: Path, settings: WarehouseSettings, spill: Path, *, read_only: bool
) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {
        "memory_limit": f"{settings.memory_mib}MiB",
        "threads": settings.threads,
        # Customers' data that does not fit into memory.
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
        # A checkpoint writes the last row group of every table again: the fewer, the less.
        "checkpoint_threshold": _LOG,
        # Nothing is fetched from a network, and a query reads no files.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with _translated(path), private():
        connection = duckdb.connect(str(path), read_only=read_only, config=config)
    if (
        value(connection, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()")
        is None
    ):
        connection.close()
        raise WarehouseError(
            f"{path}: DuckDB takes a name with this ending for data: name a file that ends in .duckdb"
        )
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        with full_disk_told(path):
            yield
    except duckdb.IOException as error:
        text = str(error)
        if "lock" in text:
            holder = _HOLDER.search(text)
            who = f"process {holder[1]}" if holder else "another process"
            raise WarehouseError(
                f"{path}: {who} has it open: wait until it ends; while 'cxstream warehouse follow' writes, read a copy: "
                f"send it SIGUSR1 or set warehouse.publish_minutes, which makes {copy_of(path)}"
            ) from error
        if any(sign in text for sign in _SIGNS_OF_DAMAGE):
            raise _damaged(path, text) from None
        raise WarehouseError(f"{path}: {_line(text)}") from None
    except duckdb.CatalogException as error:
        raise WarehouseError(f"{path}: not a warehouse: {_line(str(error))}") from None
    except (duckdb.OutOfMemoryException, duckdb.FatalException) as error:
        if any(sign in str(error) for sign in _SIGNS_OF_DAMAGE):
            raise _damaged(path, str(error)) from error
        raise WarehouseError(
            f"{path}: {_line(str(error))}: give it more memory (warehouse.memory_mib) or disk"
        ) from error
    except duckdb.Error as error:
        if not any(sign in str(error) for sign in _SIGNS_OF_DAMAGE):
            raise
        raise _damaged(path, str(error)) from error


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Errors of any kind that say that something cannot be written: a commit fails with another one than a query.

    Raises:
        WarehouseError: `path` cannot be written.
    """
    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        if not any(sign in text for sign in _SIGNS_OF_FULL):
            raise
        raise WarehouseError(
            f"{path}: cannot be written: is there space on the disk? (DuckDB says: {_line(text)})"
        ) from None


def _damaged(path: Path, text: str) -> WarehouseError:
    return WarehouseError(
        f"{path}: damaged or cut off: restore a copy, or build it again with 'cxstream replay IN... --warehouse FILE' or "
        f"'cxstream warehouse rebuild' (DuckDB says: {_line(text)})"
    )


def check_form(path: Path) -> None:
    """Refuse what is no DuckDB file: DuckDB would look for an extension that reads it.

    Raises:
        WarehouseError: it is something else, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_SQLITE_LENGTH)
    except OSError as error:
        raise WarehouseError(f"{path}: cannot be read: {error.strerror or error}") from error
    if start[_MAGIC] == b"DUCK":
        return
    if start.startswith(_SQLITE):
        what = "a SQLite database"
    elif not start.strip(b"\0"):
        what = "an empty file"
    else:
        what = "a file of something else"
    raise WarehouseError(
        f"{path}: is {what}, not a warehouse: name another file, or build one with 'cxstream replay IN... --warehouse FILE'"
    )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WarehouseError(
            f"{path}: cannot be written: {error.strerror or error}; check the rights of the file and its folder"
        ) from error


def _line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _version(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The last migration; 0 of an empty file, None of a file of something else."""
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        return 0
    if "migrations" not in tables:
        return None
    return int(value(connection, "SELECT max(number) FROM migrations") or 0)


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    before = _check_known(_version(connection), path)
    for number, statements in migrations():
        if number > before:
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER NOT NULL)")
            connection.execute(statements)
            connection.execute("INSERT INTO migrations VALUES (?)", [number])
            connection.execute("COMMIT")


def _check_known(version: int | None, path: Path) -> int:
    if version is None:
        raise WarehouseError(f"{path}: a DuckDB file of something else, not a warehouse: name another file")
    newest = migrations()[-1][0]
    if version > newest:
        raise WarehouseError(
            f"{path}: made by a later version of cxstream (schema {version}, this one knows {newest}): use that version"
        )
    return version


def _check_version(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    version, newest = _check_known(_version(connection), path), migrations()[-1][0]
    if version < newest:
        raise WarehouseError(
            f"{path}: has schema {version}, and this version of cxstream reads {newest}: open it once for writing, with "
            f"'cxstream warehouse compact --warehouse {path}'"
        )


def _column_names(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
