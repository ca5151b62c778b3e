"""The threat model names the tests that hold its promises, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {path.name: path.read_text() for path in (ROOT / "tests").glob("*.py")}
NAMED = re.compile(r"`((?:test|fuzz)_\w+\.py)(?:::(\w+))?`")


def test_every_test_that_a_document_names_exists() -> None:
    named = [
        (path.name, *found)
        for path in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("**/*.md")]
        for found in NAMED.findall(path.read_text())
    ]
    assert [each for each in named if each[1] not in TESTS] == []
    assert [each for each in named if each[2] and f"def {each[2]}(" not in TESTS[each[1]]] == []


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    table = text.split("| promise | held by |\n|---|---|\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    assert len(rows) > 30
    headings = [promise for promise, held in rows if not held]
    assert all(heading.startswith("**") for heading in headings)
    assert [promise for promise, held in rows if held and not NAMED.search(held)] == []
