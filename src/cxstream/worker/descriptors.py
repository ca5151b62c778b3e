"""File descriptors: how many a worker needs, and a start that fails if it cannot have them.

A worker that runs out of them does not stop: connections fail at random, and the log fills up.
"""

from __future__ import annotations

import resource

import structlog

from cxstream.model.errors import SettingsError
from cxstream.worker.web.connection_limit import BACKLOG, CONNECTIONS

# A partition has a producer of results, one of snapshots and two readers. Each connects to the leaders of the partitions that it writes or reads,
# to up to two more brokers for metadata, and once more to its coordinator.
_PRODUCER_BROKERS, _SAVER_BROKERS, _READER_BROKERS, _COORDINATOR = 9, 3, 5, 1
_READERS = 2
# Libraries, logs, pipes, listening sockets, files of settings and secrets while they are read.
_PROCESS = 64
_SERVERS = 2

log = structlog.get_logger(__name__)


def needed(partitions: int, brokers: int) -> int:
    """How many descriptors a worker needs that owns all partitions, as the last one of its group does.

    Args:
        partitions: of cx.touchpoints.
        brokers: of the cluster.
    """
    producer = min(brokers, _PRODUCER_BROKERS) + _COORDINATOR
    saver = min(brokers, _SAVER_BROKERS) + _COORDINATOR
    reader = min(brokers, _READER_BROKERS) + _COORDINATOR
    consumer_of_faust = brokers + _COORDINATOR
    return (
        partitions * (producer + saver + _READERS * reader)
        + consumer_of_faust
        + _SERVERS * (CONNECTIONS + BACKLOG)
        + _PROCESS
    )


def require(count: int, partitions: int) -> None:
    """Raise the soft limit to `count`, if it is below.

    Raises:
        SettingsError: the hard limit is lower; the message says how many are needed and what to do.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise _refusal(count, partitions, f"the hard limit is {hard}")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    except (ValueError, OSError) as error:
        raise _refusal(count, partitions, str(error)) from error
    log.info("limit of file descriptors raised", before=soft, now=count)


def _refusal(count: int, partitions: int, why: str) -> SettingsError:
    return SettingsError(
        f"{partitions} partitions need {count:,} file descriptors, and {why}: raise it for the worker "
        f"(ulimit -n {count}, LimitNOFILE={count} of systemd, --ulimit nofile={count} of Docker)"
    )
