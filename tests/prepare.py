"""What a run of the tests makes once for all of its processes.

python tests/prepare.py kernels
python tests/prepare.py kafka ARCHIVE
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cxstream.local import java
from cxstream.local.broker import LocalKafka
from cxstream.replay.warm import compile_replay
from cxstream.scoring.engine import compile_kernels

# A broker of a test does not live long enough to be worth the second compiler's work.
_QUICK = "-XX:TieredStopAtLevel=1"


def java_options(archive: Path) -> str:
    """For `JDK_JAVA_OPTIONS`: how brokers start quickly.

    Args:
        archive: the classes of Kafka as `archive_kafka` keeps them; without it they are loaded one by one.
    """
    return f"{_QUICK} -XX:SharedArchiveFile={archive}" if archive.exists() else _QUICK


def archive_kafka(archive: Path) -> None:
    """Keep Kafka's classes as Java has them in memory: a start then takes a third of the time."""
    base, unfinished = archive.with_suffix(".base"), archive.with_suffix(".unfinished")
    subprocess.run(
        [java.find(), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={base}"],
        check=True,
        capture_output=True,
    )
    os.environ["JDK_JAVA_OPTIONS"] = (
        f"{_QUICK} -XX:SharedArchiveFile={base} -XX:ArchiveClassesAtExit={unfinished}"
    )
    with LocalKafka():
        pass
    unfinished.rename(archive)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kernels"]:
            compile_kernels()
            compile_replay()
        case ["kafka", archive]:
            archive_kafka(Path(archive))
        case _:
            sys.exit(__doc__)
