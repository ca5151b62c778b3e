"""The docs have a picture of each page of the console, and the pictures stay small."""

from __future__ import annotations

from pathlib import Path

from cxstream.console import navigation

DOCS = Path(__file__).parent.parent / "docs"
MOST_BYTES = 1_500_000


def test_the_docs_show_each_page_of_the_console() -> None:
    text = (DOCS / "console.md").read_text("utf-8")
    pictures = {path.stem: path for path in (DOCS / "images" / "console").glob("*.webp")}
    missing = [name for name in navigation.found() if name not in pictures]
    assert missing == [], "python docs/site/screenshots.py"
    assert [name for name in pictures if f"images/console/{name}.webp" not in text] == []
    assert sum(path.stat().st_size for path in pictures.values()) < MOST_BYTES
