"""What is in cx.rejected: read once from end to end, markers counted, filters applied.

A marker stands behind what it marks, in the same partition, so that a reader who finds a rejected record in a
whole partition sees its marker too, and retention takes the marker later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cxstream.rejected.glimpse import Glimpse, glimpse
from cxstream.rejected.record import Place, Rejection, read
from cxstream.scoring.codec.peek import about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from cxstream.kafka.reader import TopicReader


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rejected records are meant; what is not said does not matter.

    Attributes:
        places: these.
        reason: rejected for this reason.
        field: path of the field at fault.
        partition: of this source partition.
        source: CloudEvents source of the record.
        kind: kind of touchpoint, or the whole type where it is none.
        since: rejected at or after this time, ms UTC.
        until: rejected before this time, ms UTC.
    """

    places: frozenset[Place] = frozenset()
    reason: str | None = None
    field: str | None = None
    partition: int | None = None
    source: str | None = None
    kind: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def empty(self) -> bool:
        """Whether everything is meant."""
        return self == Filters()

    @property
    def of_content(self) -> bool:
        """Whether the record itself must be looked into."""
        return self.source is not None or self.kind is not None

    def partitions(self, count: int) -> list[int]:
        """The partitions in which to look."""
        wanted = {place.partition for place in self.places} or set(range(count))
        return sorted(p for p in wanted if p < count and self.partition in {None, p})

    def takes(self, rejection: Rejection) -> bool:
        """Whether a record is meant, by what cx.rejected says of it."""
        return (
            (not self.places or rejection.place in self.places)
            and self.reason in {None, rejection.reason}
            and self.field in {None, rejection.field}
            and (self.since is None or rejection.time_ms >= self.since)
            and (self.until is None or rejection.time_ms < self.until)
        )

    def takes_content(self, rejection: Rejection) -> bool:
        """Whether a record is meant, by what it says itself."""
        if not self.of_content:
            return True
        said = about(rejection.value, rejection.headers)
        return self.source in {None, said.source} and self.kind in {None, said.kind}


@dataclass(slots=True)
class Listing:
    """What was found.

    Attributes:
        found: the records that are meant, oldest first in each partition, without values; one for each place.
        resent: places that have been sent again, of all that were looked at.
        unreadable: records of cx.rejected that do not explain themselves, and are left out.
        ends: how far each partition has been read.
        glimpses: what each of the found records is about.
    """

    found: list[Rejection] = field(default_factory=list)
    resent: set[Place] = field(default_factory=set)
    unreadable: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    glimpses: dict[Place, Glimpse] = field(default_factory=dict)

    @property
    def open(self) -> list[Rejection]:
        """Those that have not been sent again."""
        return [each for each in self.found if each.place not in self.resent]

    def summary(self) -> list[tuple[str, str, int, int]]:
        """Reason, field, how many, and how many of them were sent again; the most frequent first."""
        counts = Counter((each.reason, each.field) for each in self.found)
        again = Counter((each.reason, each.field) for each in self.found if each.place in self.resent)
        return [(*key, count, again[key]) for key, count in counts.most_common()]


async def scan(
    reader: TopicReader, filters: Filters, on_progress: Callable[[int, int], None] = lambda *_: None
) -> Listing:
    """Read cx.rejected.

    Memory follows the number of records that are meant, some 900 bytes each; their values are not kept.

    Args:
        reader: of cx.rejected and cx.touchpoints.
        filters: which records are meant.
        on_progress: is told how many offsets have been read, and of how many.

    Raises:
        BrokerError: the log cannot be read to its end.
    """
    listing = Listing()
    numbers = filters.partitions(reader.partitions[reader.topology.rejected.name])
    bounds = {p: await _bounds(reader, p, filters.since) for p in numbers}
    total, done = sum(end - first for first, end in bounds.values()), 0
    for p, (first, end) in bounds.items():
        await scan_partition(
            reader, p, (first, end), filters, listing,
            lambda at, before=done - first: on_progress(before + at, total),  # type: ignore[misc]
        )  # fmt: skip
        done += end - first
        on_progress(done, total)
    return listing


async def _bounds(reader: TopicReader, partition: int, since: int | None) -> tuple[int, int]:
    first, end = await reader.bounds(reader.topology.rejected.name, partition)
    if since is not None:
        first = max(first, await reader.offset_at(reader.topology.rejected.name, partition, since))
    return first, end


async def scan_partition(
    reader: TopicReader,
    partition: int,
    bounds: tuple[int, int],
    filters: Filters,
    listing: Listing,
    on_offset: Callable[[int], None] = lambda _: None,
) -> None:
    """Add what cx.rejected holds between two offsets of a partition to a listing."""
    found: dict[Place, Rejection] = {}
    async for records in reader.read(reader.topology.rejected.name, partition, *bounds, on_offset=on_offset):
        for rejection in _readable(records, listing):
            if rejection.is_marker:
                listing.resent.add(rejection.place)
            elif filters.takes(rejection):
                whole = await from_source(reader, rejection) if filters.of_content else rejection
                if filters.takes_content(whole):
                    found[rejection.place] = replace(rejection, value=None)
                    listing.glimpses[rejection.place] = glimpse(rejection)
    listing.found += found.values()
    listing.ends[partition] = bounds[1]


def _readable(records: Sequence[Any], listing: Listing) -> Iterable[Rejection]:
    for record in records:
        rejection = read(record)
        if rejection is None:
            listing.unreadable += 1
        else:
            yield rejection


async def from_source(reader: TopicReader, rejection: Rejection) -> Rejection:
    """The rejection as its source has it, where cx.rejected does not keep values; as it is where neither does.

    Requests of cx.forget stay as they are: the record at their offset of cx.touchpoints is another one. So does a
    reference where another record than the one it names lies at its place: the topic was recreated.
    """
    place = rejection.place
    if rejection.value is not None or place.topic != reader.topology.touchpoints.name:
        return rejection
    source = await reader.one(reader.topology.touchpoints.name, place.partition, place.offset)
    if source is None:
        return rejection
    if rejection.reference and not rejection.reference.fits(source.key, source.value, source.headers):
        return rejection
    return replace(rejection, key=source.key, value=source.value, headers=list(source.headers))


async def look_up(reader: TopicReader, listing: Listing, shown: Iterable[Rejection]) -> None:
    """Find out source and kind of records that cx.rejected does not keep, from where they came.

    Their values stay untold: where they are not kept, that is for a reason.
    """
    for rejection in shown:
        known = listing.glimpses[rejection.place]
        if not known.kind and not known.value:
            found = glimpse(await from_source(reader, rejection))
            listing.glimpses[rejection.place] = replace(known, source=found.source, kind=found.kind)


async def original(reader: TopicReader, rejection: Rejection) -> Rejection:
    """The rejection with the record's value: from cx.rejected, else from the place that the headers name.

    Where neither holds it any more the value stays None.
    """
    kept = await reader.one(reader.topology.rejected.name, rejection.place.partition, rejection.offset)
    return await from_source(reader, replace(rejection, value=kept.value) if kept is not None else rejection)
