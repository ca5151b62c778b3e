"""The folder in which a local broker keeps its data.

cxstream-kafka.json   says that this is such a folder, and which cluster lives in it
lock                  held by the broker that runs on it
server.properties, log4j2.properties, kafka.log
log/                  Kafka's own
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.files.private import make_folder
from cxstream.model.errors import BrokerError

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "cxstream-kafka.json"
LEAST_FREE = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder that this process has claimed.

    Attributes:
        path: the folder, absolute.
        cluster: Kafka's cluster id.
        lock: file descriptor of the claim; the process that has it open owns the folder.
    """

    path: Path
    cluster: str
    lock: int

    @property
    def formatted(self) -> bool:
        """Whether Kafka has been given this folder before."""
        return (self.path / "log" / "meta.properties").exists()

    def release(self) -> None:
        """Give up this process's claim."""
        os.close(self.lock)


def claim(path: Path) -> DataFolder:
    """Take a folder for one broker, making it when it is not there.

    Raises:
        BrokerError: it holds something else, another broker runs on it, it cannot be written, the disk is full.
    """
    path = path.expanduser().absolute()
    try:
        make_folder(path)
        _refuse_foreign(path)
        # It holds events of customers. Of a folder that is not ours nothing is changed.
        make_folder(path, tighten=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BrokerError(f"{path}: cannot be used as a data folder: {error.strerror or error}") from error
    try:
        _take(lock, path)
        _refuse_full(path)
        return DataFolder(path, _cluster(path / MARKER), lock)
    except OSError as error:
        os.close(lock)
        raise BrokerError(f"{path}: cannot be used as a data folder: {error.strerror or error}") from error
    except BaseException:
        os.close(lock)
        raise


def _refuse_foreign(path: Path) -> None:
    if not (path / MARKER).exists() and any(entry.name != "lock" for entry in path.iterdir()):
        raise BrokerError(
            f"{path}: not empty, and not the data folder of a local broker: name another with --data"
        )


def _refuse_full(path: Path) -> None:
    if shutil.disk_usage(path).free < LEAST_FREE:
        raise BrokerError(
            f"{path}: less than {LEAST_FREE >> 20} MiB free on its disk: make room, or use --data"
        )


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode() or "unknown"
        raise BrokerError(
            f"{path}: a broker already runs on this folder (started by process {owner}): "
            "stop it, or name another folder with --data"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _cluster(marker: Path) -> str:
    if marker.exists():
        try:
            return str(json.loads(marker.read_text())["cluster"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokerError(f"{marker}: damaged ({error}); remove the folder to start again") from error
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    scratch = marker.with_suffix(".new")
    scratch.write_text(json.dumps({"cluster": cluster}) + "\n")
    scratch.rename(marker)
    return cluster
