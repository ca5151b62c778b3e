"""Three brokers on this computer, with a network for each worker."""

from __future__ import annotations

import asyncio
import base64
import random
import shutil
import time
import uuid
from typing import TYPE_CHECKING, Self

from aiokafka.errors import KafkaError

from cxstream.kafka.admin import administration
from cxstream.local import config, jars, java, ports
from cxstream.model.errors import CxstreamError
from cxstream.settings import Local, Settings
from faults.disk import SmallDisk
from faults.node import Node, Ports, properties

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NODES = (1, 2, 3)
SLOTS = 4
_IN_SYNC_SECONDS = 120.0
_SMALL_DISK_MIB = 320
# Below the range that outgoing connections take their ports from (Linux: from 32768): a broker that is down must
# find its port free when it comes back, and a client that tries it meanwhile must not connect to itself.
_PORTS = range(20_000, 32_000)


def _free_ports(count: int) -> list[int]:
    candidates = random.SystemRandom().sample(_PORTS, len(_PORTS))
    found = (port for port in candidates if ports.is_free(port))
    return [next(found) for _ in range(count)]


class Cluster:
    """Three nodes.

    Args:
        folder: for their data and logs; it is made.
        small_disk: give the last node a small disk.
        say: told what takes long.

    Attributes:
        folder: where their data and logs are.
        nodes: by number.
        disk: the small one, if there is one.
    """

    def __init__(self, folder: Path, *, small_disk: bool, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.disk: SmallDisk | None = None
        self.nodes: dict[int, Node] = {}
        self._small_disk = small_disk
        self._say = say
        listening = iter(_free_ports(len(NODES) * (2 + 2 * SLOTS)))
        self._ports = {
            node: Ports(
                next(listening),
                next(listening),
                [next(listening) for _ in range(SLOTS)],
                [next(listening) for _ in range(SLOTS)],
            )
            for node in NODES
        }

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    @property
    def ways(self) -> list[tuple[int, int, int, int]]:
        """What the proxy has to serve: slot, node, port to listen on, port of the node."""
        return [
            (slot, node, mine.proxied[slot], mine.slots[slot])
            for node, mine in self._ports.items()
            for slot in range(SLOTS)
        ]

    @property
    def bootstrap(self) -> str:
        """For the harness: past the proxy."""
        return ",".join(f"127.0.0.1:{mine.direct}" for mine in self._ports.values())

    def bootstrap_of(self, slot: int) -> str:
        """For the worker in a slot: through its proxy."""
        return ",".join(f"127.0.0.1:{mine.proxied[slot]}" for mine in self._ports.values())

    async def healthy(self) -> bool:
        """Start what does not run, and wait until all replicas of everything are in sync; whether they are."""
        for node in self.nodes.values():
            if not node.running:
                node.start()
        deadline = time.monotonic() + _IN_SYNC_SECONDS
        while time.monotonic() < deadline:
            if await self._in_sync():
                return True
            await asyncio.sleep(0.2)
        return False

    async def _in_sync(self) -> bool:
        try:
            async with asyncio.timeout(10), administration(Settings(kafka=self.bootstrap)) as admin:
                described = await admin.describe_topics()
                brokers = len((await admin.describe_cluster())["brokers"])
        except (KafkaError, CxstreamError, TimeoutError, OSError):
            return False
        return brokers == len(NODES) and all(
            part["leader"] >= 0 and len(part["isr"]) == len(part["replicas"])
            for topic in described
            for part in topic["partitions"]
        )

    async def _start(self) -> None:
        local = Local()
        classpath = await asyncio.to_thread(
            jars.ensure, local.kafka_version, jars.user_cache(), self._say, local.kafka_sums
        )
        program = [str(java.find()), "-cp", f"{classpath}/*"]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        for number in NODES:
            self.nodes[number] = self._node(number, program)
        await asyncio.gather(*(asyncio.to_thread(node.format, cluster) for node in self.nodes.values()))
        for node in self.nodes.values():
            node.start()
        await asyncio.gather(*(node.answering() for node in self.nodes.values()))

    def _node(self, number: int, program: list[str]) -> Node:
        folder = self.folder / f"broker-{number}"
        folder.mkdir(parents=True)
        told = properties(number, self._ports)
        inside: list[str] = []
        if self._small_disk and number == NODES[-1]:
            mount = self.folder / "small-disk"
            mount.mkdir()
            self.disk = SmallDisk(mount, _SMALL_DISK_MIB)
            # The quorum's own log stays on the large disk: it is the records' disk that fills.
            told |= {"log.dirs": str(mount / "log"), "metadata.log.dir": "metadata"}
            inside = [*self.disk.inside, f"--wdns={folder}"]
        config.write(folder, told)
        return Node(number, folder, program, self._ports[number], inside)

    async def _end(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(node.kill) for node in self.nodes.values()))
        if self.disk:
            await asyncio.to_thread(self.disk.close)
        shutil.rmtree(self.folder, ignore_errors=True)
