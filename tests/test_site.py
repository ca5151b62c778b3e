"""The website of the documents: built from the pages as they are, with strict links, and nothing from other hosts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import website
from test_docs import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The website."""
    out = tmp_path_factory.mktemp("site") / "docs"
    website.build(out)
    return out


def test_every_page_is_in_the_site(site: Path) -> None:
    for page in website.pages():
        name = "index.html" if page.name == "README.md" else f"{page.stem}.html"
        html = (site / page.parent / name).read_text()
        assert "<h1" in html, page


def test_menu_leads_to_every_page_of_the_index(site: Path) -> None:
    menu = (site / "docs" / "scoring.html").read_text()
    for target in (
        "events.html",
        "crm.html",
        "install.html",
        "dashboards.html",
        "runbooks/CxstreamStalled.html",
    ):
        assert f'href="./{target}" class="md-nav__link' in menu, target
    assert 'href="../ARCHITECTURE.html" class="md-nav__link' in menu


def test_files_that_pages_link_to_come_with_them(site: Path) -> None:
    assert (site / "examples" / "crm_consumer.py").read_bytes() == (
        ROOT / "examples/crm_consumer.py"
    ).read_bytes()
    listed = (site / "schemas" / "index.html").read_text()
    assert "churn_risk.v1.json" in listed
    assert (site / "docs" / "images" / "demo.svg").is_file()


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    assert website.foreign(site) == []
    page = site / "page.html"
    page.write_text('<script src="https://cdn.example/x.js"></script><a href="https://example.org/">x</a>')
    try:
        assert website.foreign(site) == ['page.html: <script src="https://cdn.example/x.js">']
    finally:
        page.unlink()


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        ({"docs/a.md": "# A\n\n[b](b.md)\n"}, r"docs/a.md: b.md does not exist"),
        ({"docs/a.md": "# A\n\n[top](../README.md#nowhere)\n"}, "anchor does not exist"),
        ({"docs/a.md": "# A\n\n`[b](b.md)`\n"}, None),
        ({"docs/a.md": "# A\n\n[files](../schemas)\n"}, None),
        ({"docs/a.md": "# A\n", "docs/b.md": "# B\n"}, r"docs/README.md does not list docs/b.md"),
    ],
)
def test_broken_pages_fail(
    pages: dict[str, str], problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    common = {
        "README.md": "# Top\n",
        "docs/README.md": "# Index\n\n## All\n\n| page | contents |\n|---|---|\n| [A](a.md) | a |\n",
        "examples/README.md": "# Examples\n\n[A](../docs/a.md)\n",
        "schemas/x.json": "{}",
    }
    for name, text in (common | pages).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "docs/README.md").write_text(common["docs/README.md"] + "| [E](../examples/README.md) | e |\n")
    monkeypatch.setattr(website, "ROOT", root)
    monkeypatch.setattr(website, "MORE", ())
    out = tmp_path / "out"
    if problem is None:
        website.build(out)
        assert (out / "docs" / "a.html").is_file()
        return
    with pytest.raises(SystemExit) as ended:
        website.build(out)
    assert re.search(problem, re.sub(r"\x1b\[[0-9;]*m", "", str(ended.value)))
    assert not out.exists()
