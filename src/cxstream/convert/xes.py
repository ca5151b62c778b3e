"""XES event logs (IEEE 1849) as touchpoints: a trace is a customer's journey, an event is a touchpoint.

`xes.toml`, beside this file, says what the attributes mean. A user's own mapping goes before it, for logs in which the
customer is not the case, or activities are of several kinds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.convert.inputs import Rows
from cxstream.convert.mapping import Event, Skip, Test, When, load, unknown_kind
from cxstream.convert.rules import events_from
from cxstream.convert.stream import Stream
from cxstream.convert.xes_reader import TRANSITION, XesReader
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from cxstream.convert.drafts import Draft
    from cxstream.convert.mapping import Mapping
    from cxstream.convert.report import Report
    from cxstream.convert.values import Get

BUILT_IN = Path(__file__).with_name("xes.toml")
OTHER_TRANSITION = "events of another lifecycle transition"


def drafts(
    paths: Sequence[Path],
    report: Report,
    *,
    kind: str = "page_view",
    channel: str = "crm",
    source: str | None = None,
    zone: str | None = None,
    lifecycle: Sequence[str] = (),
    mapping: Path | None = None,
    own: Collection[str] = (),
) -> Iterator[Draft]:
    """The touchpoints of XES logs, in the order of the files.

    Args:
        paths: the logs, plain or compressed.
        report: counts events, and hears of problems.
        kind: of the touchpoints that no event of the mapping takes.
        channel: of these.
        source: CloudEvents source; `xes` by default.
        zone: IANA time zone of times without an offset.
        lifecycle: transitions that are kept, in any case of letters; an event that names none is `complete`. Empty
            keeps all.
        mapping: a mapping file whose events and skips come before the built-in ones; it may leave id, source,
            subject, time, channel and the other attributes to them.
        own: the kinds of the company's own.

    Raises:
        InputError: a log or the mapping cannot be read.
    """
    if wrong := unknown_kind(kind, own):
        raise InputError(f"--kind: {wrong}")
    layers = list(_layers(kind, channel, source, zone, lifecycle, mapping, own))
    wanted = {alias for layer in layers for name in layer.columns() for alias in (name, _xes_name(name))}
    for path in paths:
        stream = Stream(path, report, xml=True)
        opened = Rows(stream.name, XesReader(stream, report, wanted, whole=not lifecycle), _column)
        yield from events_from(opened, [(layer, _column) for layer in layers], report)


def _layers(
    kind: str,
    channel: str,
    source: str | None,
    zone: str | None,
    lifecycle: Sequence[str],
    mapping: Path | None,
    own: Collection[str],
) -> Iterator[Mapping]:
    table = load(BUILT_IN)
    defaults = msgspec.structs.replace(
        table.defaults,
        source=source or table.defaults.source,
        time=When(column="time:timestamp", zone=zone),
        data={"channel": channel, **table.defaults.data},
    )
    kept = [name.strip().lower() for name in lifecycle]
    skip = [Skip({TRANSITION: Test(is_not=list(kept))}, OTHER_TRANSITION)] if kept else []
    if mapping is not None:
        ours = load(mapping, defaults=defaults, own=own)
        yield msgspec.structs.replace(ours, skip=[*skip, *ours.skip])
    yield msgspec.structs.replace(table, defaults=defaults, skip=skip, event=[Event(kind)])


def _column(name: str) -> Get:
    """The way to an attribute; in a template, where a colon has another meaning, a period may stand for it."""
    other = _xes_name(name)

    def get(row: Any) -> str | None:
        text: str | None = row.get(name) or row.get(other)
        return text.strip() or None if text else None

    return get


def _xes_name(name: str) -> str:
    return name.replace(".", ":")
