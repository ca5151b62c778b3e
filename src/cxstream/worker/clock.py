"""The time that waits and deadlines are reckoned in."""

from __future__ import annotations

import asyncio


def now() -> float:
    """Seconds of the running event loop: never goes back, whatever the wall clock does; a simulation has its own."""
    return asyncio.get_running_loop().time()
