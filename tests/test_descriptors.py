"""File descriptors: what many partitions need is asked for at the start, and had or refused."""

from __future__ import annotations

import re
import resource
import subprocess
import sys

import pytest

from cxstream.model.errors import SettingsError
from cxstream.worker import descriptors
from cxstream.worker.descriptors import needed

SCRIPT = """
import resource, sys
from cxstream.worker.descriptors import require
soft, hard, count = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
require(count, 200)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def required(soft: int, hard: int, count: int) -> subprocess.CompletedProcess[str]:
    """`require(count)` in a process with these limits."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(count)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_soft_limit_is_raised_as_far_as_needed() -> None:
    done = required(256, 2000, 1215)
    assert done.stdout.splitlines()[-1] == "1215 2000", done.stderr


def test_a_limit_that_suffices_stays() -> None:
    assert required(1500, 2000, 1215).stdout == "1500 2000\n"


def test_a_hard_limit_that_is_too_low_is_refused_in_words() -> None:
    said = required(256, 1024, 1215).stderr
    assert "200 partitions need 1,215 file descriptors, and the hard limit is 1024: raise it" in said
    assert "LimitNOFILE=1215" in said


@pytest.mark.parametrize("hard", [4096, resource.RLIM_INFINITY])
def test_a_limit_that_the_system_does_not_give_is_refused(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (256, hard))
    monkeypatch.setattr(descriptors.resource, "setrlimit", refuse)
    with pytest.raises(SettingsError, match=re.escape("need 1,215 file descriptors, and not permitted")):
        descriptors.require(1215, 200)


def test_the_need_grows_with_partitions_and_brokers_up_to_a_bound() -> None:
    # As counted of a worker with one broker: eight for each partition, and those of the process.
    assert needed(200, 1) - needed(100, 1) == 800
    assert needed(200, 1) >= 1215
    assert needed(200, 3) > needed(200, 1)
    assert needed(200, 1000) - needed(200, 100) == 900
