"""A file of scored touchpoints: Arrow (a file or a stream, zstd) or Parquet, by the ending of its name.

The file appears when it is complete, for its owner alone, like the other results of `replay`.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Self

import pyarrow as pa
from pyarrow import parquet as pq

from cxstream.files.private import draft, names_to_disk, to_disk
from cxstream.files.scored_columns import CODE, SCHEMA, ScoredColumns
from cxstream.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from cxstream.scoring.engine import Outcome
    from cxstream.scoring.scored import Scored

# Rows that are written together: a row group of Parquet, a batch of Arrow.
_ROWS = 1 << 16
_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")
# An Arrow file has one dictionary a column, which is known only at the end: it has strings.
PLAIN = pa.schema(
    [field.with_type(pa.string()) if field.type == CODE else field for field in SCHEMA], SCHEMA.metadata
)


def _arrow_file(file: IO[bytes]) -> Any:
    return pa.ipc.new_file(file, PLAIN, options=_PACKED)


def _arrow_stream(file: IO[bytes]) -> Any:
    return pa.ipc.new_stream(file, SCHEMA, options=_PACKED)


def _parquet(file: IO[bytes]) -> Any:
    return pq.ParquetWriter(file, SCHEMA, compression="zstd")


WRITERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".arrow": _arrow_file,
    ".arrows": _arrow_stream,
    ".parquet": _parquet,
}


class ScoredFile:
    """Writes the scored touchpoints of a replay. A context manager: without `complete`, nothing stays behind.

    Args:
        path: where to; .arrow (an Arrow file), .arrows (an Arrow stream) or .parquet.
        replace: replace a file that is there.

    Raises:
        OutputError: another ending, something is there and is not to be replaced, or it cannot be written.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self._path = path
        if path.suffix.lower() not in WRITERS:
            raise OutputError(
                f"{path}: not a format for scored touchpoints; name a file that ends in {', '.join(WRITERS)}"
            )
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a file; name another one")
        if path.exists() and not replace:
            raise OutputError(f"{path}: exists already; name another file, or replace it with --force")

    def __enter__(self) -> Self:
        self._waiting = ScoredColumns()
        if not self._path.parent.is_dir():
            raise OutputError(f"{self._path}: there is no folder {self._path.parent}; create it first")
        try:
            self._file, self._place = draft(self._path)
        except OSError as error:
            raise self._failed(error) from error
        self._writer = WRITERS[self._path.suffix.lower()](self._file)
        return self

    def begin_again(self) -> None:
        """Forget what has been written.

        Raises:
            OutputError: the file cannot be written.
        """
        self._drop()
        self.__enter__()

    def write(self, rows: Scored) -> None:
        """Append rows.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self._waiting.add(rows, None)
        if self._waiting.rows >= _ROWS:
            self._write_out()

    def take(self, outcome: Outcome, _lines: Sequence[Any]) -> None:
        """Append the touchpoints of an outcome.

        Raises:
            OutputError: the disk is full, or the like.
        """
        if outcome.scored is not None:
            self.write(outcome.scored)

    def take_changes(self, changes: Sequence[Any]) -> None:
        """Changes of the experience are not in this file."""

    def take_cards(self, cards: Iterable[bytes]) -> None:
        """Score cards are not in this file."""

    def write_out(self) -> None:
        """Write all that has been taken to the disk, and close the file.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self._write_out()
        try:
            self._writer.close()
            self._file.close()
            to_disk(self._place)
        except OSError as error:
            raise self._failed(error) from error

    def complete(self) -> None:
        """Give the file its name.

        Raises:
            OutputError: the disk is full, or the like.
        """
        if not self._file.closed:
            self.write_out()
        try:
            self._place.replace(self._path)
            names_to_disk(self._path.parent)
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def _write_out(self) -> None:
        if not self._waiting.rows:
            return
        batch, self._waiting = self._waiting.batch(), ScoredColumns()
        try:
            self._writer.write_batch(batch.cast(PLAIN) if self._path.suffix.lower() == ".arrow" else batch)
        except OSError as error:
            raise self._failed(error) from error

    def _drop(self) -> None:
        try:
            if not self._file.closed:
                # A writer that is not closed tries to write when it is collected.
                self._writer.close()
                self._file.close()
        except OSError:
            # What cannot be flushed is removed all the same.
            return
        finally:
            self._place.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"{error.filename or self._path}: cannot write scored touchpoints ({error.strerror or error})"
        )
