"""A command in the process of a test is like one in a process of its own, as far as its callers look."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, NoReturn

import click

from in_process import cxstream

if TYPE_CHECKING:
    import pytest


def test_what_it_logs_without_a_configuration_is_on_its_standard_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def command(words: list[str]) -> NoReturn:
        logging.getLogger("aiokafka.client").info("quiet")
        logging.getLogger("aiokafka.client").warning("%s %s", *words)
        logging.basicConfig(level=logging.DEBUG)
        click.echo(os.environ["CXSTREAM_KAFKA"])
        raise SystemExit(3)

    root = logging.getLogger()
    before = (root.level, root.handlers[:], dict(os.environ))
    monkeypatch.setattr("in_process.main", command)
    done = cxstream("no", 1, environ={"CXSTREAM_KAFKA": "here:1"})
    assert (done.returncode, done.stdout, done.stderr) == (3, b"here:1\n", b"no 1\n")
    assert not caplog.records
    assert (root.level, root.handlers, dict(os.environ)) == before


def test_what_it_leaves_undone_is_told_on_its_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(_words: list[str]) -> NoReturn:
        async def leave() -> None:
            alone = asyncio.get_running_loop().create_future()
            alone.set_exception(ValueError("left alone"))
            # A cycle, as the frames of exceptions make them: it goes when garbage is looked for.
            alone.add_done_callback(vars(leave).setdefault("cycle", [alone]).append)

        asyncio.run(leave())
        raise SystemExit(0)

    monkeypatch.setattr("in_process.main", command)
    assert b"left alone" in cxstream().stderr
