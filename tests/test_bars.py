"""Progress bars: on a terminal, and nothing at all anywhere else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from rich.console import Console

import cxstream
from cxstream.cli import main
from cxstream.erasure import requests
from cxstream.erasure.requests import Left
from cxstream.logs.bars import bar

SHOP = Path(__file__).parents[1] / "examples" / "cdnow"
PACKAGE = Path(cxstream.__file__).parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_bar_is_this_one() -> None:
    made = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "rich.progress import" in (text := path.read_text()) and "Progress(" in text
    }
    assert made == {"logs/bars.py"}


def written(lines: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([each.format(tmp=folder) for each in lines])
    assert ended.value.code == 0
    return capsys.readouterr().err


@pytest.mark.parametrize("coloured", [None, "1"])
@pytest.mark.parametrize(
    "lines",
    [
        ["simulate", "--customers", "3", "--days", "1", "--out", "{tmp}/out.ndjson"],
        ["replay", str(SHOP.parent / "story.ndjson"), "--out", "{tmp}/out", "--quiet"],
    ],
    ids=["simulate", "replay"],
)
def test_no_bar_and_no_empty_line_where_nobody_watches(
    lines: list[str],
    coloured: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if coloured:
        monkeypatch.setenv("FORCE_COLOR", coloured)
    assert written(lines, tmp_path, capsys) == ""


def test_convert_writes_its_account_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["convert", "mapping", f"{SHOP}/purchases.csv", "--mapping", f"{SHOP}/mapping.toml"]
    told = written([*lines, "--out", "{tmp}/out.ndjson"], tmp_path, capsys)
    assert told.strip()
    assert "" not in told.splitlines()
    assert "\x1b" not in told


def test_forget_waits_in_silence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "forget", AsyncMock(return_value=Left(0, [])))
    assert written(["forget", "anna"], tmp_path, capsys) == ""


@pytest.mark.parametrize(("kind", "shown"), [("xterm", True), ("dumb", False)])
def test_a_terminal_has_a_bar_if_it_can_show_one(kind: str, shown: bool) -> None:
    out = Terminal()
    console = Console(file=out, _environ={"TERM": kind})
    with bar(console=console) as found:
        found.add_task("reading", total=2)
    assert bool(out.getvalue()) is shown


def test_simulate_shows_a_bar_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ["simulate", "--customers", "3", "--days", "1", "--out", str(tmp_path / "out.ndjson")]
    subprocess.run([sys.executable, "-m", "cxstream", *words], stderr=theirs, check=True, timeout=300)
    os.close(theirs)
    assert b"records" in os.read(ours, 100_000)
    os.close(ours)
