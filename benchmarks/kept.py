"""Measurements in a file, so that a long series can be taken in several calls, and plotted again without measuring."""

from __future__ import annotations

import json
import time
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Kept:
    """Measurements by what was measured. They are of one version: begin a new file with another.

    Args:
        file: where they are kept; None: nowhere.
        runs: how many of each are wanted.
        seconds: begin no further one after so many; None: no limit.
    """

    def __init__(self, file: Path | None, runs: int = 1, seconds: float | None = None) -> None:
        self._file, self._runs = file, runs
        self._until = None if seconds is None else time.monotonic() + seconds
        self._found: dict[str, list[dict[str, float]]] = {}
        if file is not None and file.exists():
            self._found = json.loads(file.read_text())

    def wants(self, what: dict[str, Any]) -> bool:
        """Whether a further measurement of this is wanted now."""
        late = self._until is not None and time.monotonic() > self._until
        return not late and len(self._found.get(_name(what), ())) < self._runs

    def add(self, what: dict[str, Any], measured: dict[str, float]) -> None:
        """Keep a measurement."""
        self._found.setdefault(_name(what), []).append(measured)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_name(f"{self._file.name}.new")
            new.write_text(json.dumps(self._found, indent=1) + "\n")
            new.replace(self._file)

    def medians(self, what: dict[str, Any]) -> dict[str, float] | None:
        """The median of each measure; None if it was not measured."""
        found = self._found.get(_name(what))
        return found and {name: median(each[name] for each in found) for name in found[0]}


def _name(what: dict[str, Any]) -> str:
    return json.dumps(what, sort_keys=True)
