"""The harness's hand on the proxy, which runs in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_ANSWER_SECONDS = 20.0
_TESTS = Path(__file__).parents[1]


class Links:
    """The networks of all worker slots.

    Args:
        ways: (slot, node, port to listen on, port of the broker).
    """

    def __init__(self, ways: Sequence[tuple[int, int, int, int]]) -> None:
        self._ways = list(ways)
        self._process: asyncio.subprocess.Process | None = None
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._fired: dict[int, asyncio.Event] = {slot: asyncio.Event() for slot, *_ in self._ways}
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "faults.proxy",
            json.dumps(self._ways),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_TESTS,
            # Ctrl-C is for the harness, which then ends this in good order.
            start_new_session=True,
        )
        self._listener = asyncio.create_task(self._listen())
        await self._answer()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process
        assert self._process.stdin
        assert self._listener
        self._process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 5)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._listener.cancel()

    async def pass_(self, slot: int) -> None:
        """Everything passes at once; a held connection goes on."""
        await self.shape(slot)

    async def shape(
        self,
        slot: int,
        mode: str = "pass",
        *,
        nodes: Sequence[int] | None = None,
        latency: float = 0.0,
        rate: float | None = None,
    ) -> None:
        """Change a slot's network: see `faults.proxy`."""
        await self._do(do="shape", slot=slot, mode=mode, nodes=nodes, latency=latency, rate=rate)

    async def arm(self, slot: int, steps: Sequence[tuple[int, int]], *, forward: bool) -> None:
        """Freeze a slot's network when a sequence of requests has been seen; `fired` waits for it."""
        self._fired[slot].clear()
        await self._do(do="arm", slot=slot, steps=list(steps), forward=forward)

    async def fired(self, slot: int, seconds: float) -> bool:
        """Wait until the armed sequence has been seen; False: not within that time."""
        try:
            await asyncio.wait_for(self._fired[slot].wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def reset(self, slot: int) -> None:
        """Disarm, drop connections and what they hold, and pass."""
        await self._do(do="reset", slot=slot)

    async def reset_all(self) -> None:
        """Every slot as new."""
        for slot in self._fired:
            await self.reset(slot)

    async def _do(self, **command: Any) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()
        await self._answer()

    async def _answer(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._answers.get(), _ANSWER_SECONDS)

    async def _listen(self) -> None:
        assert self._process
        assert self._process.stdout
        async for line in self._process.stdout:
            said = json.loads(line)
            if "fired" in said:
                self._fired[said["fired"]].set()
            else:
                self._answers.put_nowait(said)
