"""A file has its name when its bytes are on the disk, and not before: a computer may lose power right after."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.console.people import add_person
from cxstream.console.saved import SavedViews
from cxstream.files import private
from cxstream.files.outputs import created
from cxstream.files.scored_file import ScoredFile
from cxstream.model.errors import OutputError
from cxstream.model.outputs import CHURN_RISK
from cxstream.replay.results import Results
from cxstream.settings import Warehouse
from cxstream.warehouse.export import export
from cxstream.warehouse.files import FileWarehouse
from cxstream.warehouse.store import Store, reading
from test_warehouse import batch, built
from warehouse_rows import row

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = Warehouse(memory_mib=512, threads=1)


def a_file(folder: Path) -> None:
    with created(folder / "file.ndjson") as out:
        out.write(b"anna")


def results(folder: Path) -> None:
    with Results(folder) as out:
        out.write(CHURN_RISK.file, [b"anna"])
        out.complete()


def scored(folder: Path) -> None:
    with ScoredFile(folder / "scored.parquet") as out:
        out.complete()


def exported(folder: Path) -> None:
    path = built(folder / "w", batch([row(1, "anna")]))
    with reading(path, SMALL) as connection:
        export(connection, folder / "out")


def people(folder: Path) -> None:
    add_person(folder / "people.json", "anna", "viewer", "a long password")


def saved(folder: Path) -> None:
    SavedViews(folder / "views.json").save("anna", "mine", "/voice", ["/voice"])


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What waited for the disk, and what got its name, in order."""
    found: list[tuple[str, Path]] = []
    sync, replace = os.fsync, Path.replace

    def synced(number: int) -> None:
        found.append(("synced", Path(f"/proc/self/fd/{number}").readlink()))
        sync(number)

    def named(self: Path, target: Path) -> Any:
        found.extend([("named", self), ("is", target)])
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    return found


@pytest.mark.parametrize("write", [a_file, results, scored, exported, people, saved])
def test_a_file_gets_its_name_when_it_is_on_the_disk(
    write: Callable[[Path], None], tmp_path: Path, acts: list[tuple[str, Path]]
) -> None:
    write(tmp_path)
    places = [i for i, (act, _) in enumerate(acts) if act == "named"]
    assert places
    for i in places:
        draft, name = acts[i][1], acts[i + 1][1]
        assert ("synced", draft) in acts[:i]
        assert ("synced", name.parent) in acts[i:]


def test_a_warehouse_that_is_rewritten_has_its_name_on_the_disk(
    tmp_path: Path, acts: list[tuple[str, Path]]
) -> None:
    path = tmp_path / "w"
    with FileWarehouse(path, SMALL) as warehouse:
        warehouse.complete()
    assert acts[-2:] == [("is", path), ("synced", tmp_path)]
    acts.clear()
    with Store(path, SMALL) as store:
        store.compact()
    assert acts[-2:] == [("is", path), ("synced", tmp_path)]


def test_a_file_that_its_owner_may_only_write_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "file.ndjson", os.open
    path.touch(0o200)

    def refused(name: Any, flags: int, *mode: int) -> int:
        # As for all but root.
        if str(name).endswith(".partial") and flags & os.O_ACCMODE == os.O_RDONLY:
            raise PermissionError(13, "Permission denied")
        return opened(name, flags, *mode)

    monkeypatch.setattr(os, "open", refused)
    a_file(tmp_path)
    monkeypatch.undo()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"anna", 0o200)


def test_a_disk_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failed)
    for write in (a_file, results, scored):
        folder = tmp_path / write.__name__
        folder.mkdir()
        with pytest.raises(OutputError, match="Input/output error"):
            write(folder)
        assert list(folder.iterdir()) == []


def test_a_file_system_without_it_for_folders_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = private.to_disk

    def files_alone(path: Path) -> None:
        if path.is_dir():
            raise OSError(22, "Invalid argument")
        real(path)

    monkeypatch.setattr(private, "to_disk", files_alone)
    a_file(tmp_path)
    assert (tmp_path / "file.ndjson").read_bytes() == b"anna"
