"""Snapshots: a partition's changed rows as bytes, and a marker that describes them.

Each row carries generation and checksum (`cxstream.scoring.state.seal`), the marker its own (`cxstream.scoring.state.marker`). The
log is authoritative: a snapshot that does not match it is refused. Rows of an earlier layout are migrated
(`cxstream.scoring.state.migrations`), and all rows are saved again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from cxstream import __version__
from cxstream.kernels.invariants import NO_LIMIT, ORDER, WHAT, wrong_customer
from cxstream.kernels.layout import (
    CHANGED,
    CLEAN,
    CLOCK,
    COMPLAINTS,
    CONTACTS,
    FLOOR,
    LAYOUT,
    NO_DAY,
    PANE,
    SEQ,
    STARTED,
    SUPPRESSED,
    SWEPT_OFFSET,
    VISIT_FLOOR,
)
from cxstream.kernels.pack import PANE_BYTES, ROW_BYTES, TOLD_BYTES, pack, packed_sizes, unpack
from cxstream.model.errors import SnapshotError
from cxstream.model.fields import MAX_SUBJECT
from cxstream.model.parameters import DAY_MS
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.codec.routing import partition_of_keys
from cxstream.scoring.state import in_force, migrations, side
from cxstream.scoring.state.erasures import TIME_BYTES
from cxstream.scoring.state.in_force import InForce, Timeline
from cxstream.scoring.state.layout_id import LAYOUT_ID
from cxstream.scoring.state.marker import MARKER_KEY, Marker, Owner, open_marker
from cxstream.scoring.state.names import MAX_TOPIC
from cxstream.scoring.state.saved_rows import SavedRows
from cxstream.scoring.state.seal import Seal, readable
from cxstream.scoring.state.sealed_rows import Sealed, SealedRows, columns, columns_of, packed_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cxstream.kernels.layout import State
    from cxstream.model.parameters import ScoringParams
    from cxstream.model.rules import Rules
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.saved_rows import RowColumns

_ROW_PREFIX, _ERASURE_PREFIX, _PASSED_PREFIX = b"c", b"e", b"x"
# Position of the number of complaints in a packed row.
_COMPLAINTS_AT = 1 + ROW_BYTES + 2
# Rows unpacked per call: enough to make the calls cheap, few enough for their copy to stay in the processor's cache.
_PART = 4_000


@dataclass(frozen=True, slots=True)
class Line:
    """The lineage that a snapshot belongs to; see `cxstream.scoring.state.seal`.

    Attributes:
        generation: number of the lineage.
        owner: the owner that saves.
        secrets: keys of the checksums; see `load`.
    """

    generation: int = 0
    owner: Owner = field(default_factory=Owner)
    secrets: tuple[bytes, ...] = (b"",)


class Loaded(NamedTuple):
    """The result of loading a snapshot.

    Attributes:
        marker: the marker of the rows.
        again: whether all rows must be saved again, because they have another layout or another secret.
        rules: the rules in force, and those since the last sweep.
    """

    marker: Marker
    again: bool
    rules: Timeline


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A snapshot that is taken, and not sealed yet.

    Attributes:
        rows: keys and payloads, tombstones first.
        changed: the rows that come behind them.
        marker: describes all of them.
        line: the lineage that they belong to.
    """

    rows: list[tuple[bytes, bytes | None]]
    changed: list[RowColumns]
    marker: Marker
    line: Line

    def __len__(self) -> int:
        return len(self.rows) + sum(map(len, self.changed)) + 1

    def sealed(self) -> SealedRows:
        """The rows with their trailers, the marker last; another thread may make them while the state goes on."""
        secret = self.line.secrets[0]
        seal = Seal(self.line.generation, secret)
        parts = [Sealed(some, seal.trailers(some)) for some in (columns_of(self.rows), *self.changed)]
        marker = columns_of([(MARKER_KEY, self.marker.encode(secret))])
        return SealedRows([*parts, Sealed(marker, np.empty((1, 0), np.uint8))])


def _bytes_of(array: NDArray[np.void], size: int) -> NDArray[np.uint8]:
    return array.view(np.uint8).reshape(len(array), size)


def _views(st: State) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.void], NDArray[np.uint8]]:
    """Rows and last signals as bytes; room for a saved pane, and its bytes."""
    pane = np.zeros(1, PANE)
    return _bytes_of(st.rows, ROW_BYTES), _bytes_of(st.told, TOLD_BYTES), pane, pane.view(np.uint8)


def _packed(partition: PartitionState, slots: NDArray[np.int32]) -> RowColumns:
    st = partition.state
    texts = [text.encode() for text in partition.topics.texts]
    topic_ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    ends = np.empty(len(slots), np.int64)
    packed_sizes(st, slots, topic_ends, ends)
    out = packed_into(ends)
    topics = np.frombuffer(b"".join(texts), np.uint8)
    pack(st, *_views(st), slots, topics, topic_ends, out)
    return columns(partition.slots.packed(slots, _ROW_PREFIX), out, ends)


def customers_of(keys: Iterable[bytes]) -> dict[str, None]:
    """The customers of the rows with these keys."""
    return {key[1:].decode(errors="replace"): None for key in keys if key.startswith(_ROW_PREFIX)}


def erasures_of(rows: Mapping[bytes, bytes], secrets: Sequence[bytes]) -> dict[bytes, bytes]:
    """Digests and packed times of erasure requests in the rows of a snapshot that is not used as a whole."""
    found = {key: row for key, row in rows.items() if key.startswith(_ERASURE_PREFIX)}
    whole: dict[bytes, bytes] = {}
    for secret in secrets:
        whole |= readable(found, secret)
    if b"" in secrets:
        whole |= {key: row for key, row in found.items() if len(row) == TIME_BYTES}
    return _digests(whole, 0)


def _digests(rows: Mapping[bytes, bytes], trailer: int) -> dict[bytes, bytes]:
    """Digests and packed times of rows of erasure requests, without the trailer of so many bytes."""
    return _bare(rows.items(), _ERASURE_PREFIX, trailer)


def _bare(rows: Iterable[tuple[bytes, bytes]], prefix: bytes, trailer: int) -> dict[bytes, bytes]:
    """Rows whose keys have a prefix, without it and without the trailer of so many bytes."""
    return {key[1:]: row[: len(row) - trailer] for key, row in rows if key.startswith(prefix)}


def passed_of(rows: Mapping[bytes, bytes], secrets: Sequence[bytes]) -> dict[bytes, bytes]:
    """Packed offsets and reasons of records that are passed over, in the rows of a snapshot that is not used as a whole."""
    found = {key: row for key, row in rows.items() if key.startswith(_PASSED_PREFIX)}
    whole: dict[bytes, bytes] = {}
    for secret in secrets:
        whole |= readable(found, secret)
    return _bare(whole.items(), _PASSED_PREFIX, 0)


def save(
    partition: PartitionState,
    offset: int,
    rules: Timeline,
    *,
    key_id: str,
    cards_clean: bool,
    line: Line,
) -> Unsealed:
    """Pack what has changed since the last call.

    Args:
        partition: the state.
        offset: the offset after the last record in it.
        rules: the rules in force, and those since the last sweep.
        key_id: of the key of the pseudonyms; "" without pseudonyms.
        cards_clean: every score card has been taken.
        line: the lineage that the rows belong to.
    """
    st = partition.state
    gone = [subject for subject in partition.gone if subject not in partition.slots]
    partition.gone.clear()
    rows: list[tuple[bytes, bytes | None]] = [(_ROW_PREFIX + subject.encode(), None) for subject in gone]
    ended, beside = side.take_changed(partition)
    rows += [(key, None) for key in ended]
    changed = np.flatnonzero(st.row_dirty[: partition.slots.top] == CHANGED).astype(np.int32)
    beside.append(_packed(partition, changed))
    st.row_dirty[changed] = CLEAN
    erasures = partition.erasures
    if partition.clock is not None:
        expired = erasures.expire(partition.clock, partition.constants.window)
        rows += [(_ERASURE_PREFIX + key, None) for key in expired]
    rows += [(_ERASURE_PREFIX + key, time) for key, time in erasures.take_changed()]
    rows += [(_PASSED_PREFIX + key, None) for key in partition.passed.take_gone()]
    rows += [(_PASSED_PREFIX + key, reason) for key, reason in partition.passed.take_changed()]
    marker = Marker(
        layout=LAYOUT,
        params=rules.latest.rules.label,
        offset=offset,
        clock=partition.clock,
        customers=partition.customers,
        seq=int(st.at[SEQ]),
        swept_offset=int(st.at[SWEPT_OFFSET]),
        held=int(st.at[SUPPRESSED]),
        cards_clean=cards_clean,
        erasures=len(erasures.times),
        partitions=partition.count,
        partition=partition.number,
        generation=line.generation,
        cluster=line.owner.cluster,
        group=line.owner.group,
        epoch=line.owner.epoch,
        passed=partition.passed.digest(),
        layout_id=LAYOUT_ID,
        version=__version__,
        key=key_id,
        rules=rules.saved(),
        ahead_ms=rules.ahead_ms,
        floor=_day(st.at[FLOOR]),
        visit_floor=_day(st.at[VISIT_FLOOR]),
    )
    marker = msgspec.structs.replace(marker, **side.counts(partition))
    return Unsealed(rows, beside, marker, line)


def _day(day: int) -> int | None:
    return None if day == NO_DAY else int(day)


def _checked(
    rows: SavedRows,
    columns: RowColumns,
    params: ScoringParams,
    key_id: str,
    partition: PartitionState,
    secrets: Sequence[bytes],
) -> tuple[Marker, bytes]:
    """The marker, and the secret that it was saved with."""
    raw = rows.get(MARKER_KEY)
    if raw is None:
        raise SnapshotError("the snapshot has no marker: rebuild the partition from its log")
    marker, secret = open_marker(raw, secrets)
    if unfit := marker.unfit(params, key_id):
        raise SnapshotError(f"the snapshot {unfit}: rebuild the partition", "other")
    if marker.partition not in {None, partition.number}:
        raise SnapshotError(f"the snapshot is of partition {marker.partition}: rebuild the partition")
    if marker.clock is None and (marker.customers or marker.memory):
        raise SnapshotError("the snapshot has customers and no clock: rebuild the partition from its log")
    if marker.customers > marker.seq or marker.swept_offset > marker.offset:
        raise SnapshotError("the snapshot's marker contradicts itself: rebuild the partition from its log")
    expected = marker.customers + marker.erasures
    kinds = np.bincount(columns.kinds(), minlength=256)
    found = len(rows) - 1 - sum(int(kinds[ord(prefix)]) for prefix in (*side.PREFIXES, _PASSED_PREFIX))
    if expected != found:
        raise SnapshotError(f"the snapshot has {found} of {expected} rows: rebuild the partition")
    return marker, secret


def load(
    partition: PartitionState,
    rows: Mapping[bytes, bytes],
    settings: Rules,
    *,
    key_id: str = "",
    secrets: Sequence[bytes] = (b"",),
    latest: int = NO_LIMIT,
) -> Loaded:
    """Fill an empty partition.

    Args:
        partition: without customers.
        rows: the latest value of every key, tombstones left out, the marker included.
        settings: the settings' rules; rows of a layout before 4 must have been made with them.
        key_id: of the key of the pseudonyms, with which the names of customers do not tell their partition; "" without.
        secrets: accepted keys of the checksums, first the one to save with; b"" for checksums without a key.
        latest: the latest possible event time under the settings' rules, ms UTC.

    Returns:
        The marker, the rules, and whether all rows must be saved again. Customers of other partitions are not
        loaded, and counted as gone.

    Raises:
        SnapshotError: the rows cannot be trusted.
    """
    rows = SavedRows.of(rows)
    columns = rows.columns()
    marker, secret = _checked(rows, columns, settings.params, key_id, partition, secrets)
    timeline = _timeline(marker, settings)
    loaded = Loaded(marker, not marker.is_present or secret != secrets[0], timeline)
    if latest != NO_LIMIT:
        latest += max(0, timeline.ahead_ms - settings.future_ms)
    if marker.clock is not None and marker.clock > latest:
        raise SnapshotError("the snapshot is from the future: rebuild the partition from its log")
    trailer = 0
    if marker.is_sealed:
        seal = Seal(marker.generation, secret)
        seal.check(columns, but=MARKER_KEY)
        trailer = seal.size
    if not marker.is_present:
        columns, trailer = SavedRows.of(_migrated(columns, marker.layout, trailer)).columns(), 0
    _load_notes(partition, columns, trailer, latest, marker)
    partition.constants = timeline.constants(len(timeline.sets) - 1)
    st = partition.state
    for place, day in ((FLOOR, marker.floor), (VISIT_FLOOR, marker.visit_floor)):
        st.at[place] = NO_DAY if day is None else day
    if marker.clock is None:
        return loaded
    today = marker.clock // DAY_MS
    saved = columns.of(_ROW_PREFIX)
    names = _names(saved)
    if marker.partitions != partition.count and not key_id:
        own = _without_strangers(partition, names)
        saved, names = saved.taken(own), names.taken(own)
    partition.slots.fill(names)
    first = max(today - partition.constants.window + 1, int(st.at[FLOOR]))
    _unpack_all(partition, saved, trailer, first)
    st = partition.state
    live = partition.live()
    order = live[np.argsort(st.rows["seq"][live], kind="stable")]
    live[:] = order
    _check_customers(partition, marker, marker.clock)
    # A sweep evaluates every customer without changing the saved row of most.
    swept = order[st.rows["eval_clock"][order] < today * DAY_MS]
    st.rows["eval_clock"][swept] = today * DAY_MS
    st.rows["eval_offset"][swept] = marker.swept_offset
    partition.unsettle()
    st.row_dirty[order] = CLEAN
    st.card_dirty[order] = 0 if marker.cards_clean else 1
    st.at[STARTED], st.at[CLOCK], st.at[SEQ] = 1, marker.clock, marker.seq
    st.at[SWEPT_OFFSET], st.at[SUPPRESSED] = marker.swept_offset, marker.held
    clock = marker.clock
    everybody = len(saved) == marker.customers
    side.load(
        partition,
        columns,
        lambda counted: side.Loading(clock, today, first, getattr(marker, counted), trailer, everybody),
    )
    _recall_erased(partition)
    if loaded.again:
        mark_all(partition)
    return loaded


def _load_notes(
    partition: PartitionState, rows: RowColumns, trailer: int, latest: int, marker: Marker
) -> None:
    """Load erasure requests and the records that are passed over."""
    erasures, passed = rows.of(_ERASURE_PREFIX).items(), rows.of(_PASSED_PREFIX).items()
    partition.erasures.load(_bare(erasures, _ERASURE_PREFIX, trailer), latest)
    partition.passed.load(_bare(passed, _PASSED_PREFIX, trailer))
    if partition.passed.digest() != marker.passed:
        raise SnapshotError("the snapshot lacks records that were passed over: rebuild the partition")


def _timeline(marker: Marker, settings: Rules) -> Timeline:
    """The rules of a snapshot.

    Raises:
        SnapshotError: they are missing or not valid.
    """
    if not marker.has_rules:
        return Timeline([InForce(settings)])
    if not marker.rules:
        raise SnapshotError("the snapshot has no rules: rebuild the partition from its log")
    return Timeline([in_force.loaded(each) for each in marker.rules], marker.ahead_ms)


def _migrated(rows: RowColumns, layout: int, trailer: int) -> Mapping[bytes, bytes]:
    """Rows of an earlier layout as the present one has them, without trailer and marker."""
    bare = {key: row[: len(row) - trailer] for key, row in rows.items() if key != MARKER_KEY}
    return migrations.migrate(bare, layout)


def mark_all(partition: PartitionState) -> None:
    """Mark the whole state as not saved."""
    live = partition.live()
    partition.state.row_dirty[live] = CHANGED
    side.mark_all(partition, live.astype(np.int64))
    partition.erasures.changed = dict.fromkeys(partition.erasures.times)
    partition.passed.changed = dict.fromkeys(partition.passed.reasons)


def _names(saved: RowColumns) -> Packed:
    """The customers of these rows, in UTF-8.

    Raises:
        SnapshotError: a key is not a customer's.
    """
    keys = saved.packed_keys()
    names = Packed(keys.text, keys.begins + 1, keys.ends)
    try:
        # Each key begins with ASCII: no character goes on from one to the next.
        keys.text.decode()
    except UnicodeDecodeError as error:
        raise SnapshotError(
            "a key of the snapshot is not UTF-8: rebuild the partition from its log"
        ) from error
    long = names.taken(np.flatnonzero(names.lengths > MAX_SUBJECT)).strings()
    if not names.lengths.all() or any(len(name) > MAX_SUBJECT for name in long):
        raise SnapshotError("a key of the snapshot is not a customer: rebuild the partition from its log")
    return names


def _without_strangers(partition: PartitionState, names: Packed) -> NDArray[np.int64]:
    """The places of the customers of this partition; the others count as gone."""
    if partition.count is None:
        return np.arange(len(names))
    own = partition_of_keys(names, partition.count) == partition.number
    partition.gone |= dict.fromkeys(names.taken(np.flatnonzero(~own)).strings())
    return np.flatnonzero(own)


def _check_customers(partition: PartitionState, marker: Marker, clock: int) -> None:
    """Check the customers against the invariants of the kernels.

    Raises:
        SnapshotError: the state of a customer breaks an invariant.
    """
    st, live = partition.state, partition.live()
    found, what = wrong_customer(st, partition.constants, live, clock, marker.seq, marker.offset)
    if found == len(live) and (np.diff(st.rows["seq"][live]) <= 0).any():
        found, what = 0, ORDER
    if found < len(live):
        raise SnapshotError(
            f"a row of the snapshot has an impossible value ({WHAT[what]}): rebuild the partition"
        )


def _recall_erased(partition: PartitionState) -> None:
    """Find the erasure requests of customers who came back."""
    erased, live = partition.state.rows["erased"], partition.live()
    slots = live[erased[live] != 0]
    erased[slots] = 0
    partition.remember_erased(slots)


def _unpack_all(partition: PartitionState, rows: RowColumns, trailer: int, oldest: int) -> None:
    """Fill the slots 0, 1, 2, ... from their rows, a part at a time."""
    counts = rows.text[rows.begins[rows.sizes > _COMPLAINTS_AT] + _COMPLAINTS_AT]
    complaints = int(np.minimum(counts, COMPLAINTS).sum())
    partition.reserve(len(rows), int(rows.sizes.sum()) // PANE_BYTES, complaints)
    partition.make_vacant(slice(0, len(rows)))
    for begin in range(0, len(rows), _PART):
        part = rows.taken(np.arange(begin, min(begin + _PART, len(rows))))
        _unpack_part(partition, *part.payloads(trailer), begin, oldest)


def _unpack_part(
    partition: PartitionState, data: NDArray[np.uint8], ends: NDArray[np.int64], first: int, oldest: int
) -> None:
    st, count = partition.state, len(ends)
    slots = np.arange(first, first + count, dtype=np.int32)
    found = np.empty((count, CONTACTS, 2), np.int64)
    if unpack(st, *_views(st), slots, data, ends, oldest, found) < count:
        raise SnapshotError("a row of the snapshot is incomplete: rebuild the partition from its log")
    st.rows["spare"][slots] = 0
    held = st.rows["contacts_n"][slots]
    which, places = np.nonzero(np.arange(CONTACTS) < held[:, None])
    if not len(which):
        return
    texts = [data[begin:end].tobytes() for begin, end in found[which, places].tolist()]
    known = {text: partition.topics.number(_topic(text)) for text in dict.fromkeys(texts)}
    numbers = np.fromiter(map(known.__getitem__, texts), np.int32, len(texts))
    partition.reserve(0, 0, 0)
    st = partition.state
    st.contact_topics[st.seldom[slots[which]], places] = numbers
    np.add.at(st.topic_refs, numbers, 1)


def _topic(text: bytes) -> str:
    try:
        topic = text.decode()
    except UnicodeDecodeError as error:
        raise SnapshotError(
            "a topic in the snapshot is not UTF-8: rebuild the partition from its log"
        ) from error
    if len(topic) > MAX_TOPIC:
        raise SnapshotError("a topic in the snapshot is too long: rebuild the partition from its log")
    return topic
