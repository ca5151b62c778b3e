"""Ports of the worker's own servers: a default that is taken gives way, so that a second worker on a computer starts."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cxstream.settings import Worker


def gives_way(worker: Worker, setting: Literal["web_port", "metrics_port"], error: OSError) -> bool:
    """Whether a server that could not listen may take a free port: its own is taken, and nobody chose it.

    Args:
        worker: the settings.
        setting: which of them has the port.
        error: why it could not listen.
    """
    return error.errno == errno.EADDRINUSE and setting not in worker.model_fields_set
