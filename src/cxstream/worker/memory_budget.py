"""The memory that a worker may take: how it is shared out, and a start that is refused where it is too little.

total = process       Python, packages and kernels, as they are when the worker starts
      + reading       an answer of Kafka as it came, what a batch is inflated in, the largest window of zstd
      + results       those under way and those that follow
      + fetches       records that wait to be scored: a quarter of what is left
      + state         the customers: the rest
"""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cxstream.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.settings import Settings

_MIB = 1 << 20
# Kafka answers a fetch with up to 50 MiB (fetch.max.bytes); zstd has windows of up to 128 MiB.
_READING_BYTES = (50 + 32 + 128) * _MIB
_LEAST_FETCHES_BYTES, _LEAST_STATE_BYTES = 16 * _MIB, 32 * _MIB
# What of the memory of the computer or the container counts as the worker's, where nobody says how much it is.
_SHARE = 0.8
_CGROUPS = Path("/sys/fs/cgroup")
# The second is that of cgroups version 1.
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_OWN_CGROUP = Path("/proc/self/cgroup")


class Budget(NamedTuple):
    """Shares of a worker's memory, in bytes.

    Attributes:
        total: all of it.
        process: what the process took when it started.
        fetches: records that wait to be scored.
        state: customers.
    """

    total: int
    process: int
    fetches: int
    state: int


def budget(settings: Settings) -> Budget:
    """Share the memory out.

    Raises:
        SettingsError: `worker.memory_mib` is too little for a worker that knows no customer.
    """
    given = settings.worker.memory_mib
    total, process = given * _MIB if given is not None else available(), taken()
    floor = process + _READING_BYTES + 2 * settings.worker.flush_bytes
    left = total - floor
    if left < _LEAST_FETCHES_BYTES + _LEAST_STATE_BYTES:
        if given is not None:
            least = floor + _LEAST_FETCHES_BYTES + _LEAST_STATE_BYTES
            raise SettingsError(
                f"worker.memory_mib: {given} MiB are too little: a worker takes {-(-least // _MIB)} MiB before it knows "
                "any customer; give it more, or lower worker.flush_bytes"
            )
        left = _LEAST_FETCHES_BYTES + _LEAST_STATE_BYTES
    fetches = max(_LEAST_FETCHES_BYTES, left // 4)
    return Budget(total, process, fetches, left - fetches)


def available() -> int:
    """What this process may count on, of the container's memory or the computer's, in bytes."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _limits():
        with suppress(OSError, ValueError):
            found.append(int(limit.read_text()))
    return round(min(found) * _SHARE)


def _limits() -> Iterator[Path]:
    """Files with the memory limits of this process: a container's, and those of a unit of systemd and its slices."""
    for name in _LIMITS:
        yield _CGROUPS / name
    with suppress(OSError, ValueError):
        # Version 2 has one line, "0::/system.slice/cxstream-worker@1.service".
        (own,) = re.findall(r"^0::/(.+)$", _OWN_CGROUP.read_text(), re.MULTILINE)
        for folder in (Path(own), *Path(own).parents):
            if ".." not in folder.parts:
                yield _CGROUPS / folder / "memory.max"


def taken() -> int:
    """Memory that this process has in use, in bytes; where the system does not say, the most that it ever had."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
