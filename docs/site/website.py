"""Builds the pages of this repository as a website: `make docs`.

The pages stay as they are in the repository, where a Git host shows them too. They are copied with the files that they
link to, and zensical turns the copy into HTML. Navigation comes from the tables of docs/README.md. The build fails on a
link or an anchor that leads nowhere, on a page that docs/README.md does not list, and on HTML that loads anything from
another host.

python docs/site/website.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
INDEX = Path("docs/README.md")
# Pages that others link to; docs/README.md lists the rest.
MORE = ("tests/faults/README.md", "tests/simulation/README.md", "examples/cdnow/README.md")
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`(?!\]\()", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(https?:)?//[^>]*>|<link\b[^>]*\bhref=\"?(https?:)?//[^>]*>"
)

EXTENSIONS = {
    "tables": {},
    "sane_lists": {},
    # Anchors as Git hosts make them.
    "toc": {"permalink": True, "slugify": {"object": "pymdownx.slugs.slugify", "kwds": {"case": "lower"}}},
    "pymdownx.highlight": {"pygments_lang_class": True},
    "pymdownx.superfences": {},
}


def pages() -> list[Path]:
    """Every page, relative to the root."""
    below = [path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*.md"))]
    above = [path.relative_to(ROOT) for path in sorted(ROOT.glob("*.md"))]
    return [*above, *below, Path("examples/README.md"), *map(Path, MORE)]


def outside_code(text: str) -> list[tuple[str, bool]]:
    """The parts of a page, each with whether it is code."""
    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [(text[end : code.start()], False), (code[0], True)]
        end = code.end()
    return [*parts, (text[end:], False)]


def listing(folder: Path) -> str:
    """A page that links to each file of a folder."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = [f"- [{name}]({name})" for name in names]
    return "\n".join([f"# {folder.relative_to(ROOT)}/", "", *lines, ""])


class Copy:
    """The pages and what they link to, in a folder of the same layout.

    Args:
        folder: where to put it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pages = set(pages())

    def write(self) -> None:
        """Copy everything.

        Raises:
            SystemExit: a link leads to a file that does not exist.
        """
        for page in sorted(self._pages):
            text = (ROOT / page).read_text("utf-8")
            parts = [part if code else self._linked(page, part) for part, code in outside_code(text)]
            self._put(page, "".join(parts))

    def _put(self, path: Path, text: str) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")

    def _linked(self, page: Path, text: str) -> str:
        return LINK.sub(lambda found: self._link(page, found), text)

    def _link(self, page: Path, found: re.Match[str]) -> str:
        """A link as the site needs it; copies the file or folder that it leads to."""
        if re.match(r"[a-z]+:", found["target"]):
            return found[0]
        source = (ROOT / page).parent.joinpath(found["target"]).resolve()
        if not source.exists():
            sys.exit(f"{page}: {found['target']} does not exist")
        path = source.relative_to(ROOT)
        if path in self._pages:
            return found[0]
        if source.is_file():
            self._file(path)
            return found[0]
        if path / "README.md" in self._pages:
            return f"{found['text']}({found['target'].rstrip('/')}/README.md)"
        if not (self._folder / path / "index.md").exists():
            self._put(path / "index.md", listing(source))
            for each in source.rglob("*"):
                if each.is_file():
                    self._file(each.relative_to(ROOT))
        return f"{found['text']}({found['target'].rstrip('/')}/index.md)"

    def _file(self, path: Path) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)


def navigation() -> list[dict[str, object]]:
    """The menu: a section for each heading of docs/README.md, with the pages of its table.

    Raises:
        SystemExit: the tables leave a page out.
    """
    found: list[dict[str, object]] = [{"Overview": "README.md"}]
    listed = {Path("README.md"), INDEX, *map(Path, MORE)}
    for part in (ROOT / INDEX).read_text("utf-8").split("\n## ")[1:]:
        heading = part.split("\n", 1)[0]
        below: list[dict[str, object]] = []
        for title, target in re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\)", part, re.MULTILINE):
            path = (ROOT / INDEX).parent.joinpath(target).resolve().relative_to(ROOT)
            listed.add(path)
            if path.name == "README.md" and path.parent.name == "runbooks":
                books = [each for each in pages() if each.parent == path.parent and each != path]
                listed.update(books)
                below.append({title: [str(path), *({book.stem: str(book)} for book in books)]})
            elif path != Path("README.md"):
                below.append({title: str(path if path.suffix else path / "index.md")})
        found.append({heading: below})
    if missing := sorted(str(page) for page in set(pages()) - listed):
        sys.exit(f"{INDEX} does not list {', '.join(missing)}")
    return found


def configuration() -> dict[str, object]:
    """What zensical is told, with folders relative to that of the file; JSON is YAML."""
    palette = [
        {
            "media": f"(prefers-color-scheme: {scheme})",
            "scheme": name,
            "toggle": {"icon": icon, "name": "Colours"},
        }
        for scheme, name, icon in (
            ("light", "default", "lucide/sun"),
            ("dark", "slate", "lucide/moon"),
        )
    ]
    return {
        "site_name": "cxstream",
        "docs_dir": "pages",
        "site_dir": "site",
        "use_directory_urls": False,
        "nav": navigation(),
        "theme": {
            "name": "material",
            "font": False,
            "palette": palette,
            "features": [
                "navigation.indexes",
                "navigation.tabs",
                "navigation.top",
                "content.code.copy",
                "search.highlight",
            ],
        },
        "plugins": ["search"],
        "markdown_extensions": [{name: options} for name, options in EXTENSIONS.items()],
    }


def foreign(out: Path) -> list[str]:
    """What pages load from other hosts."""
    return sorted(
        {
            f"{page.relative_to(out)}: {found[0]}"
            for page in out.rglob("*.html")
            for found in FOREIGN.finditer(page.read_text("utf-8"))
        }
    )


def build(out: Path) -> None:
    """Build the site.

    Raises:
        SystemExit: a link leads nowhere, a page is not listed, or a page loads something from another host.
    """
    with tempfile.TemporaryDirectory(prefix="cxstream-docs-") as name:
        folder = Path(name)
        (folder / "pages").mkdir()
        Copy(folder / "pages").write()
        config = folder / "mkdocs.yml"
        config.write_text(json.dumps(configuration()), "utf-8")
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(config)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        if loaded := foreign(folder / "site"):
            sys.exit("\n".join(["pages load from other hosts:", *loaded]))
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "site", out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="folder for the website")
    chosen = parser.parse_args()
    build(chosen.out)
    print(f"{chosen.out}/index.html")
