"""What `cxstream serve` says in the terminal of the file that it is to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cxstream.cli import group
from cxstream.console import server
from cxstream.model.errors import WarehouseError
from cxstream.settings import Warehouse
from cxstream.warehouse.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each server that was started follows Kafka."""
    started: list[bool] = []
    monkeypatch.setattr(server, "serve", lambda *_, follows: started.append(follows))
    return started


@pytest.mark.parametrize("follows", [False, True])
def test_a_file_that_is_not_there_yet_is_named(tmp_path: Path, served: list[bool], follows: bool) -> None:
    path = tmp_path / "w.duckdb"
    done = CliRunner().invoke(group, ["serve", "--warehouse", str(path), *(["--follow"] if follows else [])])
    assert done.exit_code == 0
    assert served == [follows]
    # A follower makes it.
    assert (f"{path}: no such warehouse yet" in done.stderr) != follows


@pytest.mark.parametrize("content", [b"", b"\0" * 100, bytes(range(256))])
def test_a_file_that_is_no_warehouse_is_refused(tmp_path: Path, served: list[bool], content: bytes) -> None:
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)
    done = CliRunner().invoke(group, ["serve", "--warehouse", str(path)])
    assert isinstance(done.exception, WarehouseError)
    assert "not a warehouse" in str(done.exception)
    assert not served


def test_nothing_is_said_of_a_warehouse(tmp_path: Path, served: list[bool]) -> None:
    path = tmp_path / "w.duckdb"
    Store(path, Warehouse()).close()
    done = CliRunner().invoke(group, ["serve", "--warehouse", str(path)])
    assert (done.exit_code, done.output, served) == (0, "", [False])
