"""How many, in words that fit one as well as many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cxstream.cli import main
from cxstream.logs.counted import are, counted, none_usable, were

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 records are, were"),
        (1, "1 record is, was"),
        (2, "2 records are, were"),
        (3000, "3,000 records are, were"),
    ],
)
def test_nouns_and_verbs_fit_the_number(count: int, said: str) -> None:
    assert f"{counted(count, 'record')} {are(count)}, {were(count)}" == said


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (0, "there is no record"),
        (1, "its only record could not be used"),
        (2, "none of 2 records could be used"),
    ],
)
def test_nothing_usable_is_said_of_any_number(records: int, said: str) -> None:
    assert none_usable(records) == said


def test_replay_says_so_of_one_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_text("{\n")
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--quiet"])
    assert f"{tmp_path / 'in'}: its only record could not be used: 1 malformed" in capsys.readouterr().err


def test_simulate_says_so_of_one_customer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "simulate",
        "--customers",
        "1",
        "--events",
        "1",
        "--quiet",
        "--out",
        str(tmp_path / "out.ndjson"),
    ]
    with pytest.raises(SystemExit):
        main(words)
    assert capsys.readouterr().out.startswith("1 record of 1 customer written to ")
