"""What a single node is told, so that it is good for development."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_MESSAGE_BYTES = 12 * 1024 * 1024

# The same in Docker and from the jars; nothing here depends on where the node runs.
DEVELOPMENT: dict[str, str] = {
    # Topics come from `cxstream topics --create`, with their configuration; a typing error makes none.
    "auto.create.topics.enable": "false",
    "num.partitions": "4",
    "message.max.bytes": str(MAX_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
    # One node holds every replica there is.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Fifty partitions of each are for clusters; they cost seconds at the first commit.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # Nobody waits for a second member of the group.
    "group.initial.rebalance.delay.ms": "0",
    # A laptop that slept has its open transactions ended soon after it wakes.
    "transaction.max.timeout.ms": "900000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "2000",
    # The defaults reserve more than the heap of a small node has to give.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.segment.bytes": str(128 * 1024 * 1024),
    "log.segment.delete.delay.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
}

LOG4J2 = """\
# Kafka's own hook for SIGTERM runs beside Log4j's, which would cut the log of the shutdown short.
shutdownHook=disable
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
# Hundreds of lines at each start that list every setting there is.
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
"""


def server(node: int, port: int, controller_port: int) -> dict[str, str]:
    """The configuration of a node that is broker and controller, reachable from this computer alone.

    The folder of its logs is relative: the node runs in its data folder, whatever characters that has in its name.
    """
    return {
        **DEVELOPMENT,
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": f"{node}@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://localhost:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "log",
        # A controller writes an empty record twice a second, so that others notice when they are behind. Here there
        # are no others, and it is a third to a half of all work of an idle node.
        "metadata.max.idle.interval.ms": "0",
    }


def write(folder: Path, properties: Mapping[str, str]) -> Path:
    """Write server.properties and log4j2.properties into a data folder; the path of the first."""
    (folder / "log4j2.properties").write_text(LOG4J2)
    path = folder / "server.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    return path
