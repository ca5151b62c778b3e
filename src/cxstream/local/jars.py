"""Kafka's jars: fetched from Maven Central once, then used from a cache folder without any network.

A version is either there as a whole or not at all. Jars are fetched into a scratch folder beside their
place and moved there in one rename, so that an interrupted download leaves nothing that looks complete;
a file lock lets one process fetch while the others wait for its result.

Each jar must have the SHA-256 that stands beside this module, when it arrives and each time it is used: a repository,
a mirror or a cache that gives out another file than the one that Kafka was tested with runs nothing here.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxstream.local.java import NOT_INSTALLED
from cxstream.model.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

SCALA = "2.13"
_CONNECTIONS = 8


def user_cache() -> Path:
    """The folder for what can be fetched again, by the custom of the operating system."""
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "cxstream"


def ensure(version: str, cache: Path, say: Callable[[str], None], sums: Path | None = None) -> Path:
    """The folder with the jars of a Kafka, fetched when it is not there yet.

    Args:
        version: Apache Kafka's, as "4.1.0".
        cache: folder that keeps them between runs.
        say: told, in a line, when something takes long.
        sums: file with the SHA-256 of each jar; None: the one that comes with cxstream.

    Raises:
        BrokerError: they cannot be fetched (no network, no such version) or stored, or are not those that they should be.
    """
    place = cache / "kafka" / f"kafka_{SCALA}-{version}"
    expected = _expected(version, sums)
    if place.is_dir():
        _verify(place, expected)
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with (place.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                say(f"getting Apache Kafka {version} from Maven Central (some 45 MB, once) ...")
                _fetch(version, place, expected)
    except OSError as error:
        raise BrokerError(f"{place}: the jars of Kafka {version} cannot be stored: {error}") from error
    return place


def _expected(version: str, sums: Path | None) -> dict[str, str]:
    """The SHA-256 of each jar, by its name."""
    file = sums or Path(__file__).with_name(f"kafka_{SCALA}-{version}.sha256")
    try:
        lines = file.read_text("utf-8").split("\n")
        return {
            name.removeprefix("*"): digest
            for digest, name in (line.split() for line in lines if line.strip())
        }
    except FileNotFoundError as error:
        if sums is None:
            raise BrokerError(
                f"Kafka {version}: the SHA-256 of its jars is not known here: use the default version, or name a file "
                "with them (as 'sha256sum *.jar' writes it) as local.kafka_sums"
            ) from error
        raise BrokerError(f"local.kafka_sums: {file}: no such file") from error
    except (OSError, ValueError) as error:
        raise BrokerError(f"{file}: is no list as 'sha256sum *.jar' writes it ({error})") from error


def _verify(folder: Path, expected: dict[str, str]) -> None:
    """Raise unless a folder has exactly the expected jars.

    Raises:
        BrokerError: one is missing, altered, or not expected; names it.
    """
    found = {jar.name: jar for jar in folder.iterdir()}
    odd = sorted(found.keys() ^ expected.keys())
    altered = [
        name for name in sorted(found.keys() & expected.keys()) if _digest(found[name]) != expected[name]
    ]
    if odd or altered:
        raise BrokerError(
            f"{folder}: {', '.join([*altered, *odd][:3])}: not the jars that cxstream was tested with (SHA-256): remove "
            "the folder to download them again; if that does not help, the repository has other files"
        )


def _digest(jar: Path) -> str:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(version: str, place: Path, expected: dict[str, str]) -> None:
    for leftover in place.parent.glob(".fetching-*"):  # of a process that was killed: this one has the lock
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=place.parent))
    try:
        jars = _resolve(version, scratch / "repository")
        (scratch / "jars").mkdir()
        for jar in jars:
            if not zipfile.is_zipfile(jar):
                raise BrokerError(f"{jar.name} arrived incomplete from Maven Central: try again")
            jar.rename(scratch / "jars" / jar.name)
        _verify(scratch / "jars", expected)
        (scratch / "jars").rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _resolve(version: str, repository: Path) -> list[Path]:
    try:
        import requests
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerError(NOT_INSTALLED) from error

    # A repository of the house (a mirror, a proxy) is named in jgo's own settings file and goes first.
    remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    maven = MavenContext(repo_cache=repository, remote_repos=remotes)
    try:
        artifacts = _artifacts(maven, version)
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return list(pool.map(lambda artifact: Path(artifact.resolve()), artifacts))
    except requests.exceptions.SSLError as error:
        found = re.search(r"\[SSL: (\w+)\]", str(error))
        raise BrokerError(
            f"Kafka {version} is not on this computer yet and cannot be fetched: TLS to {', '.join(remotes.values())} "
            f"fails ({found[1] if found else error}); if a proxy inspects TLS here, set REQUESTS_CA_BUNDLE to the file "
            "(PEM) with the authority that it uses"
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise BrokerError(
            f"Kafka {version} is not on this computer yet and cannot be fetched: no answer from "
            f"{', '.join(remotes.values())}; connect to the network for the first start, "
            "or name a mirror under [repositories] in ~/.config/jgo.conf"
        ) from error
    except (RuntimeError, requests.RequestException) as error:
        raise BrokerError(
            f"Kafka {version} cannot be fetched (is there such a version of Apache Kafka?): {error}"
        ) from error


def _artifacts(maven: Any, version: str) -> list[Any]:
    kafka = maven.create_dependency(f"org.apache.kafka:kafka_{SCALA}:{version}")
    inputs, transitive = maven.resolver.resolve([kafka])
    found = [each.artifact for each in (*inputs, *transitive) if each.scope in ("compile", "runtime", None)]
    # Kafka's own packages add the bridge from SLF4J to Log4j; its Maven project does not, and would log nothing.
    for log4j in [each for each in found if each.artifactId == "log4j-core"]:
        bridge = maven.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j.version)
        found.append(bridge.artifact())
    return found
