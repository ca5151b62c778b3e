"""Builds cxstream as it is released."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(source: Path, out: Path, *targets: str, url: str = "") -> None:
    """Build distributions of a source tree into a folder.

    Args:
        source: the tree.
        out: the folder.
        targets: "sdist", "wheel".
        url: where the sources are said to be.
    """
    options = [word for target in targets for word in ("--target", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(out), *options],
        cwd=source,
        env={**os.environ, "PROJECT_URL": url},
        check=True,
        capture_output=True,
        timeout=120,
    )


def with_version(version: str, folder: Path) -> Path:
    """A copy of what a wheel is built from, under another version."""
    folder.mkdir()
    for name in ("README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    project = (ROOT / "pyproject.toml").read_text()
    changed, count = re.subn(r'^version = ".*"$', f'version = "{version}"', project, flags=re.MULTILINE)
    assert count == 1
    (folder / "pyproject.toml").write_text(changed)
    return folder
