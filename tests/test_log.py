"""Logs: one JSON object a line when nobody watches, and never what was in a record."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import structlog

from cxstream.logs.limit import OTHERS
from cxstream.logs.setup import configure

SCRIPT = """
import logging, sys
from cxstream.logs import setup
setup.configure("info", sys.argv[1])
def score(record):
    raise ValueError("broken")
try:
    score("customer-4711")
except ValueError:
    logging.getLogger("elsewhere").exception("it %s", "failed")
logging.getLogger("elsewhere").debug("not said")
import structlog
structlog.get_logger("here").info("done", events=3)
"""


def said(form: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=True
    ).stderr


def test_json_lines_with_level_time_and_fields() -> None:
    failed, done = (json.loads(line) for line in said("auto").splitlines())
    assert (failed["level"], failed["logger"], failed["event"]) == ("error", "elsewhere", "it failed")
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert (done["event"], done["events"], done["logger"]) == ("done", 3, "here")
    assert done["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_do_not_say_what_was_in_a_record(form: str) -> None:
    text = said(form)
    assert "broken" in text
    assert "customer-4711" not in text.replace('score("customer-4711")', "")
    assert "not said" not in text


HOSTILE = """
import logging
from cxstream.logs import setup
setup.configure("info", "console")
import structlog
evil = "a\\x1b[2Jb\\x9bc\\u202ed\\n2030-01-01 [error] forged"
structlog.get_logger("cxstream").warning("said", source=evil)
logging.getLogger("elsewhere").warning("said %s", evil)
try:
    raise ValueError(evil)
except ValueError:
    logging.getLogger("elsewhere").exception("failed")
"""


def test_what_others_wrote_neither_moves_the_cursor_nor_forges_a_line() -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE], capture_output=True, text=True, check=True)
    own_colours = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    assert all(c.isprintable() for c in own_colours.replace("\n", ""))
    assert own_colours.count("forged") == 3
    forged = [line for line in own_colours.splitlines() if line.startswith("2030")]
    # A traceback has the lines of the error's text; everything else is one line.
    assert len(forged) <= 1


FLOOD = """
import logging, sys
from cxstream.logs import limit, setup
setup.configure("info", "json")
now = 0.0
limit.time.monotonic = lambda: now
for n in range(265_856):
    logging.getLogger("asyncio").error("socket.accept() out of system resource %d", n)
logging.getLogger("asyncio").debug("unlimited")
logging.getLogger("aiohttp.server").error("another logger")
logging.getLogger("cxstream.worker").info("ours")
now = 61.0
logging.getLogger("asyncio").error("later")
"""


def test_a_flood_of_log_lines_is_cut_and_counted() -> None:
    done = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == OTHERS + 4
    assert [line["event"] for line in lines[OTHERS:]] == [
        "another logger",
        "ours",
        f"{265_856 - OTHERS} log lines of asyncio were left out",
        "later",
    ]


def test_a_logger_follows_a_later_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    logger = structlog.get_logger("cxstream.test")
    configure("info", "json")
    logger.bind(partition=1).info("said")
    assert "said" in capsys.readouterr().err
    events: list[str] = []

    def take(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        events.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[take])
    logger.bind(partition=1).info("said again")
    assert events == ["said again"]
