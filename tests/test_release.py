"""What is released: the wheel and the source distribution, their contents, metadata and README.

`make release` runs these tests on what it has built, in the folder that `RELEASE_DIST` names.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import Metadata
from packaging.specifiers import SpecifierSet
from readme_renderer import markdown
from trove_classifiers import classifiers as known_classifiers

from distributions import ROOT, build

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = f"cxstream-{PROJECT['version']}"
URL = "https://git.example.org/team/cxstream"
PACKAGE = ROOT / "src" / "cxstream"
OF_CI_ONLY = (".ci/", ".gitignore")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    if given := os.environ.get("RELEASE_DIST"):
        return Path(given).absolute()
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "sdist")
    with tarfile.open(folder / f"{NAME}.tar.gz") as archive:
        archive.extractall(folder / "unpacked", filter="data")
    build(folder / "unpacked" / NAME, folder, "wheel")
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return dist / f"{NAME}-py3-none-any.whl"


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Metadata:
    """Its metadata, strictly validated."""
    return Metadata.from_email(read(wheel, f"{NAME}.dist-info/METADATA"), validate=True)


@pytest.fixture(scope="module")
def hook() -> Any:
    """The module that makes the README fit for an index."""
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def read(archive: Path, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def linked_files(name: str) -> list[Path]:
    """The files below a folder that is a link in the repository and a folder in an archive."""
    return [path.relative_to(ROOT) for path in (ROOT / name).rglob("*")] if (ROOT / name).is_dir() else []


# --- contents


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    package = {
        f"cxstream/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    about |= {"licenses/src/cxstream/text/weights/NOTICE.txt"}
    assert contents(wheel).keys() == package | {f"{NAME}.dist-info/{name}" for name in about}
    assert {"cxstream/py.typed", "cxstream/convert/segment.toml"} <= package
    assert [name for name in package if name.startswith("cxstream/local/") and name.endswith(".sha256")]


def test_the_source_distribution_makes_the_same_wheel_as_the_repository(
    dist: Path, wheel: Path, tmp_path: Path
) -> None:
    url = os.environ.get("PROJECT_URL", "") if "RELEASE_DIST" in os.environ else ""
    build(ROOT, tmp_path, "wheel", url=url)
    assert contents(tmp_path / wheel.name) == contents(wheel)


def test_the_source_distribution_has_what_git_has_and_nothing_else(dist: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: nothing says which files belong to the repository")
    # While somebody works on the repository, a new file need not be added yet.
    also = () if "RELEASE_DIST" in os.environ else ("--others", "--exclude-standard")
    command = ["git", "ls-files", "--cached", *also]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = {
        file.as_posix()
        for name in listed
        if not name.startswith(OF_CI_ONLY)
        for file in (Path(name), *linked_files(name))
        if (ROOT / file).is_file()
    }
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        names = [member.name.removeprefix(f"{NAME}/") for member in archive.getmembers() if member.isfile()]
    found = set(names)
    assert len(found) == len(names)
    assert found - {"PKG-INFO", ".gitignore"} == expected


# --- metadata


def test_the_metadata_say_what_it_is(metadata: Metadata) -> None:
    assert metadata.name == "cxstream"
    assert str(metadata.version) == PROJECT["version"]
    assert metadata.summary == PROJECT["description"]
    assert metadata.license_files == ["LICENSE", "src/cxstream/text/weights/NOTICE.txt"]
    assert metadata.requires_python == SpecifierSet(PROJECT["requires-python"])
    assert metadata.keywords
    assert set(metadata.provides_extra or []) == {"console", "local", "models", "postgres", "warehouse"}


def test_the_licence_names_that_of_each_source_of_the_weights(metadata: Metadata, wheel: Path) -> None:
    """Who checks licences by the metadata learns of CC BY-SA; and the attribution is in the wheel, beside the weights."""
    assert metadata.license_expression == "Apache-2.0 AND CC-BY-SA-4.0 AND MIT AND BSD-3-Clause"
    table = (ROOT / "docs" / "sentiment.md").read_text("utf-8").partition("## Sources and licences")[2]
    asked = re.findall(r"^\|[^|]+\|[^|]+\| ([A-Z][\w. -]+) \|$", table, re.MULTILINE)
    assert {each.replace("CC BY-SA ", "CC-BY-SA-") for each in asked} == set(
        metadata.license_expression.split(" AND ")
    )
    files = contents(wheel)
    notice = files["cxstream/text/weights/NOTICE.txt"]
    assert notice == files[f"{NAME}.dist-info/licenses/src/cxstream/text/weights/NOTICE.txt"]
    for name in (
        "Allegro Reviews",
        "Emoji Sentiment Ranking",
        "AFINN-pl-165",
        "VADER",
        "py3langid",
        "by-sa/4.0",
    ):
        assert name in notice.decode()


def test_classifiers_exist_and_name_each_python_that_it_runs_on(metadata: Metadata) -> None:
    found = metadata.classifiers or []
    assert set(found) <= known_classifiers
    # The licence is an expression; an index refuses both together.
    assert not [each for each in found if each.startswith(("License ::", "Private ::"))]
    named = {each.rpartition(" ")[2] for each in found if re.search(r"Python :: 3\.\d+$", each)}
    assert metadata.requires_python is not None
    assert named == {f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in metadata.requires_python}


def test_commands_and_plugins_are_registered(wheel: Path) -> None:
    entries = read(wheel, f"{NAME}.dist-info/entry_points.txt").decode()
    assert "[console_scripts]\ncxstream = cxstream.__main__:main\n" in entries
    assert "[faust.transports]\ncxstream = cxstream.worker.faust.transport:Transport\n" in entries


def test_twine_finds_nothing_to_complain_about(dist: Path, wheel: Path) -> None:
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict"]
    done = subprocess.run(
        [*command, str(wheel), str(dist / f"{NAME}.tar.gz")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


# --- README


def links(text: str) -> list[str]:
    """Where the links and pictures of a rendered text lead."""
    page = markdown.render(text)
    assert page is not None
    return re.findall(r'(?:href|src)="([^"]+)"', page)


def test_the_readme_of_the_release_has_no_link_into_the_repository(metadata: Metadata) -> None:
    assert metadata.description_content_type == "text/markdown"
    text = metadata.description
    assert text
    assert all(re.match(r"https?://|#", link) for link in links(text))
    assert "cxstream replay" in text


def test_with_an_address_links_lead_to_the_files_of_that_version(hook: Any) -> None:
    text = hook.readme_for_index((ROOT / "README.md").read_text(), URL, "v1.2.3")
    inside = [link for link in links(text) if link.startswith(URL)]
    assert len(inside) > 20
    for link in inside:
        kind, ref, path = link.removeprefix(f"{URL}/").split("#")[0].split("/", 2)
        assert (kind, ref) in {("blob", "v1.2.3"), ("raw", "v1.2.3")}
        assert (ROOT / path).exists(), link
    assert [link for link in inside if link.endswith((".png", ".svg"))] == [
        f"{URL}/raw/v1.2.3/docs/images/{name}" for name in ("demo.svg", "customer-experience.png")
    ]
    assert all(re.match(r"https?://|#", link) for link in links(text))


@pytest.mark.parametrize(
    ("text", "with_address", "without"),
    [
        ("[x](docs/x.md#y)", f"[x]({URL}/blob/v1/docs/x.md#y)", "x"),
        ("[`x`](x.py) and `y`", f"[`x`]({URL}/blob/v1/x.py) and `y`", "`x` and `y`"),
        ("![a](a.png).", f"![a]({URL}/raw/v1/a.png).", "."),
        ("[x](https://example.org/) [y](#here)", "[x](https://example.org/) [y](#here)", None),
        ("`[x](y)`", "`[x](y)`", None),
        ("```sh\n[x](y)\n```\n", "```sh\n[x](y)\n```\n", None),
    ],
)
def test_links(hook: Any, text: str, with_address: str, without: str | None) -> None:
    assert hook.readme_for_index(text, URL, "v1") == with_address
    assert hook.readme_for_index(text, "", "v1") == (text if without is None else without)


def test_an_address_gives_the_links_of_the_project(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT_URL", f"{URL}/")
    found: dict[str, Any] = {"version": "1.2.3"}
    hook.ReadmeHook(str(ROOT), {}).update(found)
    assert found["urls"]["Homepage"] == URL
    assert found["urls"]["Changelog"] == f"{URL}/blob/v1.2.3/CHANGELOG.md"
    monkeypatch.setenv("PROJECT_URL", "git@example.org:cxstream")
    with pytest.raises(ValueError, match="PROJECT_URL"):
        hook.ReadmeHook(str(ROOT), {}).update(found)
