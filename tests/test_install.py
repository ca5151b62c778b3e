"""docs/install.md and deploy/systemd: the units are valid, the page and the files agree, and the commands work.

The commands of the page run as they are written, in a folder that stands for the server. Not run are:

- what needs a package index: `Get the files`, and the packages that cxstream depends on, which come from the environment
  of the tests;
- the compilation of the kernels, which takes minutes;
- what needs root or systemd: useradd, chown, owners of files, runuser's change of the user, systemctl and waiting for a
  worker. It is written down instead, and the tests look at its order.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cxstream.settings import load
from distributions import ROOT, build, with_version
from test_docs import blocks, check_command

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = ROOT / "docs" / "install.md"
DEPLOY = ROOT / "deploy" / "systemd"
UNIT = DEPLOY / "cxstream-worker@.service"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# What stands for a path of the server below the scratch folder.
PLACES = re.compile(r"/(?:opt|etc|var/cache|run)/cxstream|/etc/systemd/system|/usr/local/bin")

RECORDED = ("useradd", "userdel", "chown", "systemctl", "journalctl", "curl")
RECORDER = '#!/bin/sh\necho "$(basename "$0") $*" >> "$RECORD"\n'
RUNUSER = '#!/bin/sh\n[ "$1 $2 $3" = "-u cxstream --" ] || exit 9\nshift 3\nexec "$@"\n'
# Without -o OWNER and -g GROUP, which only root can give.
INSTALL = """#!/bin/bash
words=()
while [ $# -gt 0 ]; do case $1 in -o | -g) shift 2 ;; *) words+=("$1"); shift ;; esac; done
exec {install} "${{words[@]}}"
"""


def commands(title: str) -> list[str]:
    """The blocks of a section of the page."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def version_in(title: str) -> str:
    """The version that a section installs, or goes back to."""
    (found,) = set(re.findall(r"^VERSION=(\S+)$", "".join(commands(title)), re.MULTILINE))
    return found


# --- the unit


def directives(section: str) -> dict[str, list[str]]:
    """The values of each directive in a section of the unit."""
    found: dict[str, list[str]] = {}
    (text,) = re.findall(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", UNIT.read_text(), re.MULTILINE | re.DOTALL)
    for line in filter(None, text.splitlines()):
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def environment() -> dict[str, str]:
    """What the unit sets."""
    return dict(value.split("=", 1) for value in directives("Service")["Environment"])


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on PATH")
    fake = tmp_path / "bin" / "cxstream"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    unit = tmp_path / "cxstream-worker@1.service"
    unit.write_text(UNIT.read_text().replace("/opt/cxstream/current", str(tmp_path)))
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    # It also looks at units of this computer that are pulled in.
    about = [line for line in (done.stdout + done.stderr).splitlines() if "cxstream" in line]
    assert about == []
    if "--offline" in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout:
        said = subprocess.run(
            [program, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert said.returncode == 0, said.stdout + said.stderr


def test_the_unit_is_a_unit() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    assert parser.sections() == ["Unit", "Service", "Install"]
    service = directives("Service")
    assert service["User"] == service["Group"] == ["cxstream"]
    # Numba's machine code is written to memory, and then executed.
    assert "MemoryDenyWriteExecute" not in service


@pytest.mark.parametrize("worker", range(1, 10))
def test_the_unit_starts_a_worker_that_the_product_has(worker: int) -> None:
    (line,) = directives("Service")["ExecStart"]
    program, *arguments = shlex.split(line.replace("%i", str(worker)))
    assert program == "/opt/cxstream/current/bin/cxstream"
    check_command(arguments)
    assert arguments == ["worker", "--web-port", f"606{worker}", "--metrics-port", f"946{worker}"]


def test_the_unit_gives_a_worker_the_time_to_stop(tmp_path: Path) -> None:
    given = settings_of_a_server(tmp_path)
    (seconds,) = directives("Service")["TimeoutStopSec"]
    assert float(seconds) >= load(given).worker.stop_seconds + 15


def settings_of_a_server(folder: Path) -> Path:
    """The settings file that is shipped, where its secrets exist."""
    text = (DEPLOY / "cxstream.toml").read_text()
    for secret in re.findall(r'"(/etc/cxstream/\S+)"', text):
        file = folder / Path(secret).name
        file.write_text("0123456789abcdef" * 4)
        text = text.replace(secret, str(file))
    written = folder / "cxstream.toml"
    written.write_text(text)
    return written


def test_the_settings_file_is_one_and_names_the_first_worker(tmp_path: Path) -> None:
    settings = load(settings_of_a_server(tmp_path))
    assert settings.security.protocol == "SASL_SSL"
    assert settings.worker.web_port == 6061
    assert settings.worker.memory_mib


# --- files and page agree


def test_page_unit_command_and_settings_name_the_same_places() -> None:
    text = PAGE.read_text()
    unit, command = environment(), (DEPLOY / "cxstream").read_text()
    assert unit["CXSTREAM_CONFIG"] in command
    for name in ("XDG_RUNTIME_DIR", "NUMBA_CACHE_DIR"):
        assert f"{name}={unit[name]}" in command
        assert unit[name] in commands("Remove cxstream")[0]
    for path in [unit["CXSTREAM_CONFIG"], *re.findall(r'"(/\S+)"', (DEPLOY / "cxstream.toml").read_text())]:
        assert f"{path}\n" in text
    service = directives("Service")
    assert [f"/run/{service['RuntimeDirectory'][0]}"] == [unit["XDG_RUNTIME_DIR"]]
    assert [f"/var/cache/{service['CacheDirectory'][0]}"] == [unit["NUMBA_CACHE_DIR"]]


def test_the_page_installs_this_version() -> None:
    assert version_in("Install") == VERSION == version_in("Roll back")
    assert version_in("Upgrade") != VERSION


def test_the_page_gets_every_file_that_it_installs() -> None:
    text = "".join(commands("Get the files"))
    assert "cp requirements-server.lock deploy/systemd/* dist/" in text
    files = {path.name for path in DEPLOY.iterdir()}
    assert files == {"cxstream", "cxstream.toml", UNIT.name}
    installed = "".join(commands("Install"))
    assert all(re.search(rf"^install .* {re.escape(name)} /", installed, re.MULTILINE) for name in files)


def test_every_block_of_the_page_is_shell() -> None:
    assert {language for language, _ in blocks(PAGE)} == {"sh"}
    for text in ("".join(commands(title)) for title in ("Install", "Upgrade", "Roll back")):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


# --- the commands


class Server:
    """A folder that stands for a server.

    Args:
        folder: where everything is.
        kafka: where Kafka is.
    """

    def __init__(self, folder: Path, kafka: str) -> None:
        self.root = folder / "server"
        self._kafka = kafka
        self._programs = folder / "programs"
        self._record = folder / "record"
        self._programs.mkdir()
        for path in ("/etc/systemd/system", "/usr/local/bin", "/var/cache", "/run"):
            (self.root / path[1:]).mkdir(parents=True)
        scripts = dict.fromkeys(RECORDED, RECORDER) | {
            "runuser": RUNUSER,
            "install": INSTALL.format(install=shutil.which("install")),
        }
        for name, text in scripts.items():
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)
        (self._programs / "python3").symlink_to(sys.executable)

    def placed(self, text: str) -> str:
        """A text with the server's paths below its folder."""
        return PLACES.sub(lambda found: f"{self.root}{found[0]}", text)

    def path(self, name: str) -> Path:
        """Where a path of the server is."""
        return Path(self.placed(name))

    def files(self, version: str, folder: Path) -> Path:
        """The files of a version, as `Get the files` packs them."""
        source = ROOT if version == VERSION else with_version(version, folder.with_suffix(".source"))
        build(source, folder, "wheel")
        shutil.copy(ROOT / "requirements-server.lock", folder)
        for file in DEPLOY.iterdir():
            (folder / file.name).write_text(self.placed(file.read_text()))
        toml = (folder / "cxstream.toml").read_text()
        # The Kafka of the tests has no passwords.
        toml = re.sub(
            r"^kafka = .*$(.*?)(?=^\[control\])",
            f'kafka = "{self._kafka}"\n',
            toml,
            flags=re.MULTILINE | re.DOTALL,
        )
        (folder / "cxstream.toml").write_text(toml)
        return folder

    def run(self, section: str, files: Path) -> list[str]:
        """Run the commands of a section; returns what was asked of root and of systemd."""
        text = "".join(commands(section))
        text, packages = re.subn(
            r"^.*/pip install .*--requirement requirements-server.lock$", "true", text, flags=re.MULTILINE
        )
        locked = [path for path in sys.path if Path(path).name == "site-packages"]
        pth = f"import pathlib, site; pathlib.Path(site.getsitepackages()[0], 'x.pth').write_text({chr(10).join(locked)!r})"
        compiling = '"from cxstream.scoring.engine import compile_kernels; compile_kernels()"'
        imported = shlex.quote(f"{pth}; site.main(); from cxstream.scoring.engine import compile_kernels")
        assert packages == text.count(compiling) == (section in {"Install", "Upgrade"})
        if section in {"Upgrade", "Roll back"}:
            # Nothing has changed since the other version's `doctor` ran: no worker was really restarted.
            text, last = re.subn(r"^cxstream doctor$", "true", text, flags=re.MULTILINE)
            assert last == 1
        text = text.replace(compiling, imported)
        done = subprocess.run(
            ["sh", "-eu", "-c", self.placed(text)],
            cwd=files,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("CXSTREAM_")},
                "PATH": f"{self._programs}:{self.root}/usr/local/bin:{os.environ['PATH']}",
                "RECORD": str(self._record),
                "PIP_NO_INDEX": "1",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.said = done.stdout
        asked = self._record.read_text().splitlines() if self._record.exists() else []
        self._record.unlink(missing_ok=True)
        return [line.replace(str(self.root), "") for line in asked]

    def current(self) -> str:
        """The version that the link leads to, as its program says."""
        program = self.path("/opt/cxstream/current") / "bin" / "cxstream"
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60)
        assert (
            self.path("/opt/cxstream/current").readlink()
            == self.path("/opt/cxstream") / done.stdout.split()[-1]
        )
        return done.stdout.split()[-1]


def one_by_one(asked: list[str]) -> list[str]:
    """What was done to workers, in its order."""
    return [line for line in asked if line.startswith(("systemctl restart", "curl"))]


ROLLING = [
    line
    for worker in (1, 2)
    for line in (
        f"systemctl restart cxstream-worker@{worker}",
        f"curl --fail --silent http://localhost:606{worker}/readyz",
    )
]


@pytest.mark.timeout(900)
def test_the_commands_of_the_page(kafka: str, topics: Callable[[int], None], tmp_path: Path) -> None:
    topics(0)
    server = Server(tmp_path, kafka)
    newer = version_in("Upgrade")

    first = server.files(VERSION, tmp_path / "first")
    asked = server.run("Install", first)
    assert server.current() == VERSION
    assert asked[0].startswith("useradd --system")
    assert asked.index("systemctl daemon-reload") < asked.index(
        "systemctl enable --now cxstream-worker@1 cxstream-worker@2"
    )
    assert "chown cxstream:cxstream /etc/cxstream/control-key" in asked
    for secret in ("cxstream.toml", "kafka-password", "control-key"):
        assert server.path(f"/etc/cxstream/{secret}").stat().st_mode & 0o777 == 0o600
    assert server.path("/etc/cxstream").stat().st_mode & 0o777 == 0o750
    assert f"cxstream {VERSION}" in server.said
    assert "control records must be signed" in server.said

    second = server.files(newer, tmp_path / "second")
    asked = server.run("Upgrade", second)
    assert server.current() == newer
    assert one_by_one(asked) == ROLLING
    assert f"cxstream {newer}, Python" in server.said

    asked = server.run("Roll back", second)
    assert server.current() == VERSION
    assert one_by_one(asked) == ROLLING
    assert server.path("/opt/cxstream").joinpath(newer).is_dir()

    link = server.path("/opt/cxstream/current")
    link.unlink()
    link.symlink_to(server.path("/opt/cxstream") / newer)
    server.run("Remove a version", second)
    assert server.current() == newer
    assert not server.path(f"/opt/cxstream/{VERSION}").exists()

    asked = server.run("Remove cxstream", second)
    assert asked[0] == "systemctl disable --now cxstream-worker@1 cxstream-worker@2"
    assert asked[-1] == "userdel cxstream"
    assert [path for path in server.root.rglob("*") if path.is_file()] == []
