"""The memory that a worker may use: how it is divided, and a start that fails if it is too little.

total = process       Python, packages and kernels at the start of the worker
      + reading       a response of Kafka, the buffer of an inflated batch, the largest window of zstd
      + results       those of the current and the next transaction
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
# The share of the memory of the computer or the container that a worker uses if it is not configured.
_SHARE = 0.8
_CGROUPS = Path("/sys/fs/cgroup")
# The second is that of cgroups version 1.
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_OWN_CGROUP = Path("/proc/self/cgroup")


class Budget(NamedTuple):
    """Shares of a worker's memory, in bytes.

    Attributes:
        total: the whole.
        process: memory of the process at its start.
        fetches: records that wait to be scored.
        state: customers.
    """

    total: int
    process: int
    fetches: int
    state: int


def budget(settings: Settings) -> Budget:
    """Divide the memory.

    Raises:
        SettingsError: `worker.memory_mib` is too little even for a worker without customers.
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
    """The memory available to this process, of the container or the computer, in bytes."""
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
    """Memory that this process has in use, in bytes; its peak if the system does not report that."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
