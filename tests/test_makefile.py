"""What `make` says while it installs, that it fails where pip does, and that uv installs what pip would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not on PATH")

PIP = """#!/bin/sh
case "$*" in *" -e "*) exit 0 ;; *"config list") echo "CONFIGURED"; exit 0 ;; *uv.lock) exit 0 ;; esac
echo "Ignoring colorama: markers 'sys_platform == \\"win32\\"' don't match your environment"
for n in $(seq 1 45); do
  echo "Collecting package-$n==1.0 (from -r requirements-demo.lock (line $n))"
  echo "  Downloading package_$n-1.0-py3-none-any.whl (1 kB)"
done
echo "WARNING: a warning of pip" >&2
echo "Installing collected packages: many"
exit STATUS
"""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment whose pip installs nothing."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    return programs.parent


UV = """#!/bin/sh
echo "$*" >"$0.asked"
exit STATUS
"""


def install(
    venv: Path, status: int, target: str = ".usable", *, uv: int = 0, configured: str = ""
) -> subprocess.CompletedProcess[str]:
    for name, text, ends in (("pip", PIP.replace("CONFIGURED", configured), status), ("uv", UV, uv)):
        program = venv / "bin" / name
        program.write_text(text.replace("STATUS", str(ends)))
        program.chmod(0o755)
    command = ["make", "--no-print-directory", f"VENV={venv}", f"PYTHON={sys.executable}", f"{venv}/{target}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_installing_says_in_a_few_lines_how_far_it_is(venv: Path) -> None:
    done = install(venv, 0)
    assert done.returncode == 0, done.stderr
    title, *lines = done.stdout.splitlines()
    assert title.startswith("Installing cxstream and what the demo needs")
    all_of_them = int(lines[0].split()[2])
    assert lines == [
        f"  20 of {all_of_them} packages",
        f"  40 of {all_of_them} packages",
        "  45 packages are here and are being installed",
    ]
    assert "WARNING: a warning of pip" in done.stderr
    assert (venv / ".usable").exists()


def test_a_pip_that_fails_fails_the_installation(venv: Path) -> None:
    done = install(venv, 3)
    assert done.returncode == 2
    assert "Error 3" in done.stderr
    assert not (venv / ".usable").exists()


def test_uv_installs_the_lock_with_its_hashes_and_pip_nothing(venv: Path) -> None:
    done = install(venv, 3, ".installed")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    asked = (venv / "bin" / "uv.asked").read_text()
    assert asked.endswith(f"--python {venv}/bin/python --require-hashes -r requirements.lock\n")
    own = (venv / "uv.lock").read_text()
    assert own.startswith("uv==")
    assert own.count("==") == 1
    assert "--hash=sha256:" in own


def test_where_uv_fails_pip_installs_the_lock(venv: Path) -> None:
    done = install(venv, 0, ".installed", uv=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "  45 packages are here and are being installed"
    (venv / ".installed").unlink()
    assert install(venv, 3, ".installed", uv=2).returncode == 2
    assert not (venv / ".installed").exists()


@pytest.mark.parametrize(
    "configured", ["global.index-url='https://x/simple'", ":env:.extra-index-url='https://x'"]
)
def test_uv_is_not_asked_where_pip_is_told_where_to_look(venv: Path, configured: str) -> None:
    done = install(venv, 0, ".installed", configured=configured)
    assert done.returncode == 0, done.stderr
    assert "45 packages are here" in done.stdout
    assert not (venv / "bin" / "uv.asked").exists()


DEMO = """#!/bin/sh
trap 'echo stopped; exit 130' INT
echo running
[ "$2" = fail ] && exit 3
while :; do sleep 0.05; done
"""


@pytest.fixture
def demo(venv: Path) -> list[str]:
    """A command line that runs a demo which takes a moment to stop."""
    (venv / ".usable").touch()
    program = venv / "bin" / "cxstream"
    program.write_text(DEMO)
    program.chmod(0o755)
    return ["make", "--no-print-directory", f"VENV={venv}", "demo"]


def test_ctrl_c_ends_the_demo_without_an_error(demo: list[str]) -> None:
    """A terminal sends it to all processes of the group; make waits until the demo has stopped."""
    with subprocess.Popen(
        demo, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as make:
        assert make.stdout is not None
        assert make.stdout.readline() == "running\n"
        os.killpg(make.pid, signal.SIGINT)
        out, err = make.communicate(timeout=60)
    assert (out, err) == ("stopped\n", "")


def test_a_demo_that_fails_fails(demo: list[str]) -> None:
    done = subprocess.run(
        [*demo, "ARGS=fail"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "Error" in done.stderr
