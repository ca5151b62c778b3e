"""The second opinion: `cxstream replay` of the dumped log says the same as the engine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from cxstream.topology import CHURN_RISK, FRICTION
from faults.checker import SIGNAL_TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from faults.checker import Expectation

_TYPES = {"cx.signal.churn_risk.v1": CHURN_RISK.name, "cx.signal.friction.v1": FRICTION.name}


class Opinion:
    """A dump of the log, a partition after the other, and what `replay` makes of it.

    Right where neither the times nor the offsets of the log play a part, which files do not know: records from the
    future, records that were deleted, and requests to be erased, which come in transactions of their own.

    Args:
        folder: scratch.
        partitions: how many.
    """

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        self._dump = folder / "touchpoints.ndjson"
        self._dump.unlink(missing_ok=True)

    def add(self, values: Iterable[bytes | None]) -> None:
        """Dump some more records."""
        with self._dump.open("ab") as file:
            file.writelines((value or b"") + b"\n" for value in values)

    async def differs(self, expected: Mapping[int, Expectation]) -> list[str]:
        """Replay the dump; how that differs from what is expected, in words."""
        out = self._folder / "replayed"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cxstream", "replay", str(self._dump),
            "--partitions", str(self._partitions), "--out", str(out), "--quiet",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            return [f"replay ended with {process.returncode}: {said.decode(errors='replace')[-500:]}"]
        return _different(out, expected)


def _different(out: Path, expected: Mapping[int, Expectation]) -> list[str]:
    found: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    with (out / "signals.ndjson").open("rb") as file:
        for line in file:
            event = json.loads(line)
            found[_TYPES[event["type"]], event["data"]["cause"]["partition"]].append(line.rstrip(b"\n"))
    faults = [
        f"replay and engine differ about {topic}-{partition}"
        for partition, each in expected.items()
        for topic in SIGNAL_TOPICS
        if found[topic, partition] != [value for _, value in each.signals[topic]]
    ]
    cards = sorted(card for each in expected.values() for card in each.cards().values())
    if cards != sorted((out / "scores.ndjson").read_bytes().splitlines()):
        faults.append("replay and engine differ about the score cards")
    return faults
