"""CHANGELOG.md has the form of Keep a Changelog."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
VERSIONS = dict(re.findall(r"^## \[([^\]]+)\].*?\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("version", VERSIONS)
def test_kinds_of_change_come_once_and_in_their_order(version: str) -> None:
    found = re.findall(r"^### (.+)$", VERSIONS[version], re.MULTILINE)
    assert found == [kind for kind in KINDS if kind in found]


@pytest.mark.parametrize("version", VERSIONS)
def test_no_entry_comes_twice(version: str) -> None:
    entries = Counter(
        " ".join(entry.split()) for entry in re.split(r"^(?=- |#)", VERSIONS[version], flags=re.MULTILINE)
    )
    assert [entry for entry, times in entries.items() if times > 1] == []


def test_what_is_not_released_comes_first() -> None:
    assert next(iter(VERSIONS)) == "Unreleased"
