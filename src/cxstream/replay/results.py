"""The folder of results: files that appear together when they are complete, and not before."""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

import msgspec

from cxstream.files.private import draft, make_folder, names_to_disk, to_disk
from cxstream.model import outputs
from cxstream.model.errors import OutputError
from cxstream.model.outputs import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from cxstream.scoring.codec.packed import Packed
    from cxstream.scoring.codec.rejection import Reference

REJECTED = "rejected.ndjson"
# The file of each output topic; several may share one.
FILES = {output.topic: output.file for output in OUTPUTS}
SCORES = outputs.SCORES.file
NAMES = (outputs.CHURN_RISK.file, SCORES, REJECTED)
# Only where there is something to put into it.
OTHERS = tuple(file for file in dict.fromkeys(FILES.values()) if file not in NAMES)
_BUFFER_BYTES = 1 << 20

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A record that was not used.

    Attributes:
        reason: malformed, invalid, too_large, from_the_future, too_late or failed.
        field: path of the field; empty where there is none.
        message: what is wrong, for people.
        line: 1-based line (Parquet: row) in its input.
        raw: the record; None where it is not to be copied.
        reference: what stands for a record that is too large; None for any other.
        file: its input; None where there is one only.
    """

    reason: str
    field: str
    message: str
    line: int
    raw: bytes | None
    file: str | None = None
    reference: Reference | None = None

    def encode(self) -> bytes:
        """One line of rejected.ndjson."""
        entry: dict[str, str | int] = {"reason": self.reason, "field": self.field, "message": self.message}
        if self.file is not None:
            entry["file"] = self.file
        entry["line"] = self.line
        if self.reference is not None:
            entry["size"] = self.reference.size
            if self.reference.sha256:
                entry["sha256"] = self.reference.sha256
        if self.raw is None:
            return _encode(entry)
        try:
            entry["raw"] = self.raw.decode()
        except UnicodeDecodeError:
            entry["raw"] = self.raw.decode(errors="replace")
            entry["raw_base64"] = base64.b64encode(self.raw).decode()
        return _encode(entry)


class Results:
    """Writes a folder of results.

    A context manager: the files get their names on `complete`; on leaving without it they are removed.

    Args:
        folder: where to; made, for its owner alone, if it does not exist. So are the files.
        replace: replace results that are there.

    Raises:
        OutputError: the folder has results and they are not to be replaced, or it cannot be written.
    """

    def __init__(self, folder: Path, *, replace: bool = False) -> None:
        self._folder = folder
        there = [name for name in (*NAMES, *OTHERS) if (folder / name).exists()]
        if there and not replace:
            raise OutputError(
                f"{folder}: has {there[0]} already; name another folder, or replace it with --force"
            )
        self._files: dict[str, tuple[IO[bytes], Path]] = {}
        # The folder and those above it that are not there yet, the lowest first.
        self._made = [
            each for each in (folder, *folder.parents) if not each.exists() and not each.is_symlink()
        ]

    def __enter__(self) -> Self:
        try:
            make_folder(self._folder)
            for name in NAMES:
                self._files[name] = self._open(name)
        except BaseException as error:
            self._leave()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise
        return self

    def begin_again(self) -> None:
        """Forget what has been written.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._drop()
        self.__enter__()

    def write(self, name: str, lines: Iterable[bytes]) -> None:
        """Append lines to one of the files.

        Raises:
            OutputError: the disk is full, or the like.
        """
        joined = b"\n".join([*lines, b""])
        if joined:
            self._append(name, joined)

    def write_all(self, name: str, lines: Packed) -> None:
        """Append lines that lie in one text, with a line feed behind each.

        Raises:
            OutputError: the disk is full, or the like.
        """
        if len(lines):
            self._append(name, memoryview(lines.text)[int(lines.begins[0]) : int(lines.ends[-1]) + 1])

    def _append(self, name: str, text: bytes | memoryview) -> None:
        try:
            if name not in self._files:
                self._files[name] = self._open(name)
            file, _ = self._files[name]
            file.write(text)
        except OSError as error:
            raise self._failed(error) from error

    def write_out(self) -> None:
        """Write all of the files to the disk, and close them.

        Raises:
            OutputError: the disk is full, or the like.
        """
        try:
            for file, _ in self._files.values():
                file.close()
            for _, place in self._files.values():
                to_disk(place)
        except OSError as error:
            raise self._failed(error) from error

    def complete(self) -> None:
        """Give the files their names.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self.write_out()
        try:
            for name, (_, place) in self._files.items():
                place.replace(self._folder / name)
            for name in OTHERS:
                if name not in self._files:
                    (self._folder / name).unlink(missing_ok=True)
            names_to_disk(self._folder)
        except OSError as error:
            raise self._failed(error) from error
        self._files.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Remove what is not complete, and the folders that were made for it."""
        self._drop()
        # The first one that is not empty has results, or something of somebody else.
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()

    def _drop(self) -> None:
        for file, place in self._files.values():
            try:
                file.close()
            except OSError:
                # What cannot be flushed is removed below all the same.
                continue
            finally:
                place.unlink(missing_ok=True)
        self._files.clear()

    def _open(self, name: str) -> tuple[IO[bytes], Path]:
        return draft(self._folder / name, buffering=_BUFFER_BYTES)

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"{error.filename or self._folder}: cannot write results ({error.strerror or error})"
        )
