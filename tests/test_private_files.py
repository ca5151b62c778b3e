"""Files that hold customers' data: for their owner alone, and written through no link of a stranger's."""

from __future__ import annotations

import os
import runpy
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cxstream.files.private import draft, make_folder
from cxstream.local import data
from cxstream.local.process import Guarded
from cxstream.model.outputs import CHURN_RISK
from cxstream.replay.results import Results

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = CHURN_RISK.file
ROOT = Path(__file__).parent.parent


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask, from one that gives everything to one that takes away too much."""
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_results_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        out = tmp_path / "deep" / "result"
        with Results(out) as results:
            results.write(SIGNALS, [b"anna"])
            assert {mode(each) for each in out.iterdir()} == {0o600}
            results.complete()
    finally:
        os.umask(before)
    assert mode(out) == 0o700
    assert {mode(each) for each in out.iterdir()} == {0o600}


def test_a_replaced_result_keeps_the_rights_that_somebody_gave_it(tmp_path: Path) -> None:
    for replace in (False, True):
        with Results(tmp_path, replace=replace) as results:
            results.write(SIGNALS, [b"anna"])
            results.complete()
        (tmp_path / SIGNALS).chmod(0o640)
    assert mode(tmp_path / SIGNALS) == 0o640


@pytest.mark.usefixtures("umask")
def test_a_draft_is_private_whatever_the_umask(tmp_path: Path) -> None:
    file, place = draft(tmp_path / ("x" * 255))
    with file:
        assert mode(place) == 0o600
        assert place.parent == tmp_path


def test_a_draft_that_is_not_private_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        file, place = draft(tmp_path / "x", private=False)
        file.close()
    finally:
        os.umask(before)
    assert mode(place) == 0o640


@pytest.mark.parametrize("ending", [".partial", ".part"])
def test_no_link_that_somebody_has_laid_is_written_through(ending: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / f"{SIGNALS}{ending}").symlink_to(victim)
    with Results(shared) as results:
        results.write(SIGNALS, [b"anna"])
        results.complete()
    command = ["simulate", "--customers", "1", "--days", "1", "--out", str(shared / "x.ndjson")]
    (shared / f"x.ndjson{ending}").symlink_to(victim)
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", *command], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert victim.read_text() == "keep"


def test_a_draft_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", lambda *_: (tmp_path / "nowhere").stat())
    with pytest.raises(FileNotFoundError):
        draft(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_data_folder_of_a_broker_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for there in (False, True):
            folder = tmp_path / "kafka"
            claimed = data.claim(folder)
            claimed.release()
            assert (mode(folder), mode(folder / "lock")) == (0o700, 0o600), there
            folder.chmod(0o755)
    finally:
        os.umask(before)


def test_a_folder_that_is_not_a_brokers_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(Exception, match="not the data folder"):
        data.claim(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_folder_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    assert mode(tmp_path) == 0o755
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_what_a_broker_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        touch = [shutil.which("sh") or "sh", "-c", "mkdir topic; echo anna > topic/0.log"]
        child = Guarded(touch, tmp_path / "log", cwd=tmp_path, private=True)
        child._guard.wait(120)
        child.stop()
    finally:
        os.umask(before)
    assert (mode(tmp_path / "topic"), mode(tmp_path / "topic" / "0.log")) == (0o700, 0o600)


def test_the_store_of_the_example_is_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "crm.sqlite"
    monkeypatch.setattr(sys, "argv", ["crm_consumer.py", "--store", str(store), "--kafka", "no address"])
    before = os.umask(0)
    try:
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "examples" / "crm_consumer.py"), run_name="__main__")
    finally:
        os.umask(before)
    assert mode(store) == 0o600
    assert sqlite3.connect(store).execute("SELECT count(*) FROM seen").fetchone() == (0,)
