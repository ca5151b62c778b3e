"""A TCP proxy that knows Kafka's requests: the network between one worker and the brokers.

A slot is one worker's network: a port for each broker. What the command on standard input says holds for all
connections of a slot at once; a line of JSON each, answered by a line:

    {"do": "shape", "slot": 0, "nodes": null, "mode": "pass", "latency": 0.2, "rate": 50000}
        mode: pass; hold (nothing moves, connections stay, as if packets were lost); cut (reset, and refused)
        nodes: which brokers, null for all; latency: seconds, each way; rate: bytes a second, each way
    {"do": "arm", "slot": 0, "steps": [[26, 3]], "forward": false}
        when the third EndTxn comes: hold the slot, the request itself included unless `forward`,
        and say {"fired": 0}
    {"do": "reset", "slot": 0}
        disarm, drop every connection and what it holds, and pass from then on

Standard input at its end ends the proxy.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

from faults.wire import Trigger, api_of, read_request

_CHUNK = 64 * 1024
_IN_FLIGHT = 256


def say(**message: Any) -> None:
    """One line to whoever started the proxy."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Link:
    """One slot's way to one broker.

    Attributes:
        latency: seconds that each piece takes, each way.
        rate: bytes a second, each way; None: as fast as it goes.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.rate: float | None = None
        self._cut = False
        self._open = asyncio.Event()
        self._open.set()
        self._connections: set[asyncio.Task[None]] = set()

    async def shape(self, mode: str, latency: float, rate: float | None) -> None:
        """Let pass, hold or cut, and how fast."""
        self.latency, self.rate, self._cut = latency, rate, mode == "cut"
        if self._cut:
            await self.drop()
        self._open.clear() if mode == "hold" else self._open.set()

    def hold(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    async def drop(self) -> None:
        """Reset every connection; what it holds is lost."""
        # Nothing passes until they are gone: what waits at the gate must not slip through with the next opening.
        self._open.clear()
        dropped = list(self._connections)
        for task in dropped:
            task.cancel()
        if dropped:
            await asyncio.wait(dropped)

    async def passable(self) -> None:
        """Wait until things may pass."""
        await self._open.wait()

    def refuses(self) -> bool:
        """Whether a new connection is reset at once."""
        return self._cut

    def add(self, task: asyncio.Task[None]) -> None:
        """Know a connection."""
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)


class Slot:
    """One worker's network.

    Args:
        number: which.
        links: its way to each broker, by node.
    """

    def __init__(self, number: int, links: dict[int, Link]) -> None:
        self.links = links
        self._number = number
        self._trigger: Trigger | None = None
        self._forward = False

    def arm(self, steps: list[tuple[int, int]], *, forward: bool) -> None:
        """Wait for a sequence of requests."""
        self._trigger, self._forward = Trigger(steps), forward

    def disarm(self) -> None:
        """Wait for nothing."""
        self._trigger = None

    def fires(self, request: bytes) -> bool:
        """Whether this request is what the trigger waits for."""
        return self._trigger is not None and self._trigger.saw(api_of(request))

    @property
    def forwards(self) -> bool:
        """Whether the request that fires still passes."""
        return self._forward

    def freeze(self) -> None:
        """Hold everything, and say that the trigger has fired."""
        self._trigger = None
        for link in self.links.values():
            link.hold()
        say(fired=self._number)


class Pipe:
    """One direction of a connection: what comes in goes out later, in order.

    Args:
        link: says when and how fast.
        writer: where it goes out.
    """

    def __init__(self, link: Link, writer: asyncio.StreamWriter) -> None:
        self._link = link
        self._writer = writer
        self._queue: asyncio.Queue[tuple[float, bytes, Any]] = asyncio.Queue(_IN_FLIGHT)
        self._due = 0.0

    async def put(self, data: bytes, then: Any = None) -> None:
        """Take a piece; `then` is called the moment it has gone out."""
        now = asyncio.get_running_loop().time()
        lasts = len(data) / self._link.rate if self._link.rate else 0.0
        self._due = max(now, self._due) + lasts
        await self._queue.put((self._due + self._link.latency, data, then))

    async def pump(self) -> None:
        """Send what was taken, when it is due."""
        loop = asyncio.get_running_loop()
        while True:
            due, data, then = await self._queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self._link.passable()
            self._writer.write(data)
            if then is not None:
                then()
            await self._writer.drain()


async def _requests(slot: Slot, reader: asyncio.StreamReader, pipe: Pipe) -> None:
    while True:
        request = await read_request(reader)
        if not slot.fires(request):
            await pipe.put(request)
        elif slot.forwards:
            await pipe.put(request, slot.freeze)
        else:
            slot.freeze()
            await pipe.put(request)


async def _answers(reader: asyncio.StreamReader, pipe: Pipe) -> None:
    while data := await reader.read(_CHUNK):
        await pipe.put(data)


async def _carry(
    slot: Slot, link: Link, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One connection, until either side ends it or the link is dropped."""
    upstream: asyncio.StreamWriter | None = None
    try:
        if link.refuses():
            return
        await link.passable()
        answers, upstream = await asyncio.open_connection("127.0.0.1", target)
        there, back = Pipe(link, upstream), Pipe(link, writer)
        async with asyncio.TaskGroup() as group:
            group.create_task(there.pump())
            group.create_task(back.pump())
            ends = [
                group.create_task(_requests(slot, reader, there)),
                group.create_task(_answers(answers, back)),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            raise ConnectionResetError
    except* (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        for each in (writer, upstream):
            if each is not None:
                each.transport.abort()


async def _serve(slot: Slot, link: Link, port: int, target: int) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        link.add(task)
        with suppress(asyncio.CancelledError):
            await _carry(slot, link, target, reader, writer)

    return await asyncio.start_server(accept, "127.0.0.1", port)


async def _obey(slots: dict[int, Slot], command: dict[str, Any]) -> None:
    slot = slots[command["slot"]]
    match command["do"]:
        case "shape":
            for node, link in slot.links.items():
                if command["nodes"] is None or node in command["nodes"]:
                    await link.shape(command["mode"], command["latency"], command["rate"])
        case "arm":
            slot.arm(command["steps"], forward=command["forward"])
        case "reset":
            slot.disarm()
            for link in slot.links.values():
                await link.drop()
                await link.shape("pass", 0.0, None)


async def main(ways: list[tuple[int, int, int, int]]) -> None:
    """Serve until standard input ends.

    Args:
        ways: slot, node, port to listen on and port of the broker.
    """
    slots: dict[int, Slot] = {}
    servers = []
    for number, node, port, target in ways:
        slot = slots.setdefault(number, Slot(number, {}))
        slot.links[node] = Link()
        servers.append(await _serve(slot, slot.links[node], port, target))
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    say(ready=len(servers))
    while line := await commands.readline():
        command = json.loads(line)
        await _obey(slots, command)
        say(done=command["do"])


if __name__ == "__main__":
    asyncio.run(main([tuple(way) for way in json.loads(sys.argv[1])]))
