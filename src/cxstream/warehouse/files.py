"""A warehouse from files: what `replay` scores, taken in as it comes, in a file that appears when it is complete."""

from __future__ import annotations

import glob
import secrets
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from cxstream.files.private import names_to_disk
from cxstream.files.scored import record_batch
from cxstream.model.errors import OutputError, WarehouseError
from cxstream.model.outputs import FORGOTTEN, SIGNAL_TOPICS
from cxstream.scoring.codec.peek import about
from cxstream.warehouse.batch import Batch, Refusal
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.place_signals import PlaceWatch
from cxstream.warehouse.store import Store, check_unused, copy_of, remove, require_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cxstream.scoring.codec.changes import Marker
    from cxstream.scoring.engine import Outcome
    from cxstream.settings import Insights as InsightsSettings
    from cxstream.settings import Warehouse as WarehouseSettings


class FileWarehouse:
    """Builds a warehouse from the outcomes of a replay. A context manager: without `complete`, nothing stays behind.

    Args:
        path: where to.
        settings: memory and threads, and the touchpoints of a transaction.
        insights: the places that are watched; none by default.
        replace: replace a file that is there.

    Raises:
        OutputError: something is there and is not to be replaced.
        WarehouseError: another process writes the file that is there.
    """

    def __init__(
        self,
        path: Path,
        settings: WarehouseSettings,
        insights: InsightsSettings | None = None,
        *,
        replace: bool = False,
    ) -> None:
        self._path, self._settings, self._insights = path, settings, insights
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a file; name another one")
        if path.exists() and not replace:
            raise OutputError(f"{path}: exists already; name another file, or replace it with --force")
        check_unused(path, settings)

    def __enter__(self) -> Self:
        if not self._path.parent.is_dir():
            raise OutputError(f"{self._path}: there is no folder {self._path.parent}; create it first")
        self._drop_leftovers()
        self._draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}.partial")
        self._store = Store(self._draft, self._settings)
        self._ingest = Ingest(self._store)
        self._batch, self._cards, self._whole = Batch(), 0, False
        return self

    def begin_again(self) -> None:
        """Forget what has been taken."""
        self._drop()
        self.__enter__()

    def take(self, outcome: Outcome, lines: Sequence[Any]) -> None:
        """Take what became of a chunk.

        Args:
            outcome: its outcome.
            lines: its records.

        Raises:
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        if outcome.scored is not None and len(outcome.scored):
            self._batch.scored.append(pa.Table.from_batches([record_batch(outcome.scored)]))
        self._batch.add_signals(row.value for row in outcome.rows if row.topic in SIGNAL_TOPICS)
        for row in outcome.rows:
            if row.topic == FORGOTTEN.topic:
                self._batch.add_receipt(row.value)
        for refused in outcome.rejected:
            self._batch.rejected[_refusal(lines[refused.index], refused.reason)] += 1
        self._flush(self._settings.flush_rows)

    def take_changes(self, changes: Sequence[Marker]) -> None:
        """Take changes of the experience.

        Raises:
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        self._batch.add_changes(changes)
        self._flush(self._settings.flush_rows)

    def take_cards(self, cards: Iterable[bytes]) -> None:
        """Take score cards.

        Raises:
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        for card in cards:
            self._batch.add_card(self._cards, card)
            self._cards += 1
        self._flush(self._settings.flush_rows)

    def write_out(self) -> None:
        """Write all that has been taken, and close the file.

        Raises:
            WarehouseError: the disk is full, or another process has begun to write the file.
        """
        self._flush(1)
        if self._insights is not None:
            PlaceWatch(self._store, self._insights).finish()
        if self._store.get("deleted_at") is not None:
            self._store.compact()
        self._store.close()
        require_whole(self._draft, self._path)
        check_unused(self._path, self._settings)
        self._whole = True

    def complete(self) -> None:
        """Give the file its name.

        Raises:
            OutputError: the folder cannot be written to.
            WarehouseError: as of `write_out`, if that has not been called.
        """
        if not self._whole:
            self.write_out()
        try:
            # DuckDB would apply what a process that was killed has left there to the new file.
            self._path.with_name(f"{self._path.name}.wal").unlink(missing_ok=True)
            self._draft.replace(self._path)
            names_to_disk(self._path.parent)
            # It would be that of another warehouse.
            copy_of(self._path).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __exit__(self, *_: object) -> None:
        self._drop()

    def _drop_leftovers(self) -> None:
        """Delete what processes that were killed have left of this file; what another one writes stays."""
        for draft in self._path.parent.glob(f".{glob.escape(self._path.name)}.{'?' * 16}.partial"):
            with suppress(WarehouseError):
                check_unused(draft, self._settings)
                remove(draft)
                with suppress(OSError):
                    draft.with_name(f".{draft.name}.spill").rmdir()

    def _flush(self, rows: int) -> None:
        if self._batch.rows >= rows:
            self._ingest.apply(self._batch)
            self._batch = Batch()

    def _drop(self) -> None:
        try:
            self._store.close()
        finally:
            remove(self._draft)


def _refusal(line: bytes, reason: str) -> Refusal:
    """What a rejected line of a file counts as; its day is that of its time, if that can be read."""
    said = about(line, [])
    return Refusal(_day(said.time), said.source if isinstance(said.source, str) else None, reason)


def _day(time: Any) -> date | None:
    try:
        moment = datetime.fromisoformat(time)
        return moment.astimezone(UTC).date() if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
