"""Logs: one JSON object a line when nobody watches, and never what was in a record."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys
from cxstream import log
log.configure("info", sys.argv[1])
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
