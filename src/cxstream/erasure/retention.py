"""How long a topic keeps records, by its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cxstream.kafka.admin import Found

# Kafka's largest number, which means "no limit".
_UNBOUNDED = 2**63 - 1


class Keeping(NamedTuple):
    """Bounds of a topic, ms; None: there is none.

    Attributes:
        retention_ms: how long after its arrival a record is deleted, at the latest.
        compaction_ms: how long after its successor's arrival a record is compacted away, at the latest.
        tombstone_ms: the same for a tombstone, after its own arrival.
    """

    retention_ms: int | None
    compaction_ms: int | None
    tombstone_ms: int | None


def keeping(found: Found) -> Keeping:
    """The retention by the configuration of a topic.

    Kafka deletes whole segments: a record goes with the newest one of its segment, which is at most `segment.ms` younger.
    """
    config = found.config
    policies = config.get("cleanup.policy", "").split(",")
    segment, retention = int(config["segment.ms"]), int(config["retention.ms"])
    lag, tombstone = int(config["max.compaction.lag.ms"]), int(config["delete.retention.ms"])
    compacts = "compact" in policies and lag < _UNBOUNDED
    return Keeping(
        retention + segment if "delete" in policies and retention >= 0 else None,
        lag if compacts else None,
        2 * lag + tombstone if compacts else None,
    )
