"""A process that says nothing does not hold up the tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from first_line import next_line


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_lines_come_one_after_the_other() -> None:
    with started("print('one'); print('two')") as process:
        assert [next_line(process), next_line(process)] == ["one\n", "two\n"]


@pytest.mark.timeout(60)
def test_a_silent_process_is_killed_and_named() -> None:
    with (
        started("import time; time.sleep(600)") as process,
        pytest.raises(
            pytest.fail.Exception, match=r"sleep\(600\).* ended with -9, or was killed after 0.5 s"
        ),
    ):
        next_line(process, seconds=0.5)


def test_one_that_ends_is_named_with_its_status() -> None:
    with (
        started("import sys; sys.exit(3)") as process,
        pytest.raises(pytest.fail.Exception, match="ended with 3"),
    ):
        next_line(process)
