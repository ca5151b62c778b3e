"""What a check says, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from cxstream.doctor.progress import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cxstream.doctor.cluster import Cluster
    from cxstream.settings import Settings

Level = Literal["ok", "warning", "error", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        level: ok, warning (it works, but not for long or not well), error (it does not work, or will not), or
            skipped (it could not be determined).
        what: what was found.
        advice: what to do; "" where there is nothing to do.
        check: name of the check; filled in by the caller.
    """

    level: Level
    what: str
    advice: str = ""
    check: str = ""


def ok(what: str) -> Finding:
    """All is well."""
    return Finding("ok", what)


def warning(what: str, advice: str) -> Finding:
    """It works, but not for long or not well."""
    return Finding("warning", what, advice)


def error(what: str, advice: str) -> Finding:
    """It does not work, or will not."""
    return Finding("error", what, advice)


def skipped(what: str, advice: str = "") -> Finding:
    """It could not be determined; says why."""
    return Finding("skipped", what, advice)


@dataclass(frozen=True, slots=True)
class Patient:
    """The installation that is looked at.

    Attributes:
        settings: its settings.
        config: the settings file that was named; None for the usual ones.
        schemas: folder of schemas to compare with; None to compare none.
        worker: address of a worker's web server that must answer; None: the one of the settings may.
        cluster: the connection to Kafka; None where it does not answer.
        watch: what is seen of the partitions, once for all checks.
    """

    settings: Settings
    config: str | None
    schemas: Path | None
    worker: str | None
    cluster: Cluster | None = None
    watch: Watch = field(default_factory=Watch)

    @property
    def kafka(self) -> Cluster:
        """The connection, for checks that are only run where there is one."""
        assert self.cluster is not None  # noqa: S101 - the caller has checked it
        return self.cluster


Check: TypeAlias = "Callable[[Patient], AsyncIterator[Finding]]"
