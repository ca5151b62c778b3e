"""Ports of the worker's own servers: if a default port is in use, a free one is taken, so that a second worker starts on a computer.

So it is if the settings ask for a free port: Faust needs it in advance, and another process may take it in between.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cxstream.settings import Worker


def gives_way(worker: Worker, setting: Literal["web_port", "metrics_port"], error: OSError) -> bool:
    """Whether a server that could not listen may take a free port: its port is in use, and nobody chose it.

    Args:
        worker: the settings.
        setting: the name of the port setting.
        error: why it could not listen.
    """
    is_chosen = setting in worker.model_fields_set and getattr(worker, setting) != 0
    return error.errno == errno.EADDRINUSE and not is_chosen
