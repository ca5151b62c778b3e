"""The clock for waits and deadlines."""

from __future__ import annotations

import asyncio


def now() -> float:
    """Seconds of the running event loop: monotonic, independent of the wall clock; a simulation has its own."""
    return asyncio.get_running_loop().time()
