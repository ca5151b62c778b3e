"""The marker of a snapshot: one JSON object under MARKER_KEY that describes the rows.

No customer's key begins with a NUL byte followed by `marker`, for a row's key is the customer behind one byte. The
marker has a checksum of its own, over all of its other fields.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from cxstream import __version__
from cxstream.kernels.invariants import MAX_TIME, MIN_TIME
from cxstream.kernels.layout import LAYOUT
from cxstream.model.errors import SnapshotError
from cxstream.scoring.state import migrations
from cxstream.scoring.state.in_force import SavedRules  # noqa: TC001  # msgspec evaluates the annotations
from cxstream.scoring.state.layout_id import LAYOUT_ID
from cxstream.scoring.state.seal import KEYED_DIGITS, text_checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.parameters import ScoringParams

MARKER_KEY = b"\0marker"
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The key of a row of remembered ids has six bytes for it, and a kernel packs it beside 20 bits.
Seq = Annotated[int, Meta(ge=0, lt=2**43)]
Day = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
Time = Annotated[int, Meta(ge=MIN_TIME, le=MAX_TIME)]


class Owner(msgspec.Struct, frozen=True):
    """Who saves the state of a partition.

    Attributes:
        cluster: id of the Kafka cluster; "" where that is not known.
        group: consumer group; "" where there is none.
        epoch: how often an operator has moved the state to another owner.
    """

    cluster: str = ""
    group: str = ""
    epoch: Number = 0


class Marker(msgspec.Struct, frozen=True):
    """The state that the rows belong to.

    Attributes:
        layout: number of the layout of rows and marker.
        params: the label of the rules in force; in layouts before 4, a digest of the parameters and of `key`.
        offset: the offset after the last record in them.
        clock: event time reached, ms UTC; null before the first record.
        customers: how many rows there must be.
        seq: next number of first appearance.
        swept_offset: offset of the record that caused the last sweep.
        held: raises suppressed by the cooldown so far.
        cards_clean: every score card had been taken.
        erasures: how many rows of erasure requests there must be.
        partitions: how many the topic had; null if customers of other partitions were not recognised.
        memory: how many rows of remembered ids there must be.
        partition: whose state it is; null in an earlier layout.
        generation: the snapshot lineage that the rows belong to.
        cluster: see `Owner`.
        group: see `Owner`.
        epoch: see `Owner`.
        passed: digest of the offsets of records that are passed over; empty if there are none.
        purchases: how many rows of purchases there must be.
        tallies: how many rows of tallies of the company's own kinds there must be.
        layout_id: digest of the saved form; empty in layouts before 4.
        version: the version of cxstream that saved it; empty in layouts before 4.
        key: id of the key of the pseudonyms; empty without pseudonyms, and in layouts before 4.
        rules: the rules since the last sweep, the ones in force last; none in layouts before 4.
        ahead_ms: the furthest that any rules so far let an event time be after its record's Kafka timestamp, ms.
        floor: the first day that counts; null if the window has not changed.
        visit_floor: likewise, of plain visits.
        checksum: of the other fields, in hexadecimal.
    """

    layout: int
    params: str
    offset: Count
    clock: Time | None
    customers: Count
    seq: Seq
    swept_offset: Count
    held: Count
    cards_clean: bool
    erasures: Count = 0
    partitions: Count | None = None
    memory: Count = 0
    partition: Count | None = None
    generation: Number = 0
    cluster: str = ""
    group: str = ""
    epoch: Number = 0
    passed: str = ""
    purchases: Count = 0
    tallies: Count = 0
    layout_id: str = ""
    version: str = ""
    key: str = ""
    rules: tuple[SavedRules, ...] = ()
    ahead_ms: Count = 0
    floor: Day | None = None
    visit_floor: Day | None = None
    checksum: str = ""

    @property
    def has_rules(self) -> bool:
        """Whether it has the rules that were in force."""
        return self.layout >= migrations.FIRST_WITH_RULES

    def unfit(self, params: ScoringParams, key_id: str) -> str:
        """Why state that was saved with it cannot be used here; "" if it can.

        Args:
            params: the settings' parameters; state of layouts that have no rules goes on under the same ones only.
            key_id: of the key of the pseudonyms; "" without pseudonyms: other pseudonyms make another state.
        """
        if self.has_rules:
            return "" if self.key == key_id else "was made under another key of the pseudonyms"
        if self.params == digest(params, key_id, self.layout):
            return ""
        return "was made under other scoring parameters or another key"

    @property
    def is_present(self) -> bool:
        """Whether the rows have the present layout."""
        return (self.layout, self.layout_id) == (LAYOUT, LAYOUT_ID)

    @property
    def is_sealed(self) -> bool:
        """Whether rows and marker have checksums."""
        return self.layout >= migrations.FIRST_SEALED

    @property
    def owner(self) -> Owner:
        """The owner that saved it."""
        return Owner(self.cluster, self.group, self.epoch)

    def encode(self, secret: bytes = b"") -> bytes:
        """Its stored form, with a new checksum."""
        bare = msgspec.json.encode(msgspec.structs.replace(self, checksum=""))
        return msgspec.json.encode(msgspec.structs.replace(self, checksum=text_checksum(bare, secret)))

    def is_written(self, raw: bytes, secret: bytes = b"") -> bool:
        """Whether `raw`, from which it was decoded, ends with the checksum of the rest.

        The bytes count, not the fields: a marker of an earlier layout has fewer.
        """
        end = b'"checksum":"' + self.checksum.encode() + b'"}'
        bare = raw[: -len(self.checksum) - 2] + b'"}'
        expected = text_checksum(bare, secret)
        return raw.endswith(end) and hmac.compare_digest(self.checksum.encode(), expected.encode())


def digest(params: ScoringParams, key_id: str = "", layout: int = LAYOUT) -> str:
    """Digest of the parameters and of the key of the pseudonyms, as the markers of layouts before 4 have it.

    Args:
        params: the parameters.
        key_id: of the key of the pseudonyms; "" without pseudonyms.
        layout: the layout of the snapshot that it is compared with.
    """
    named = migrations.params_of(params.model_dump(mode="json", exclude_none=True), layout)
    canonical = msgspec.json.encode(named, order="deterministic")
    return hashlib.blake2b(canonical + key_id.encode(), digest_size=16).hexdigest()


class _Layout(msgspec.Struct):
    """What every layout's marker has, also a later one's."""

    layout: int
    layout_id: str = ""
    version: str = ""


def _require_known(saved: _Layout) -> None:
    """Refuse a layout that this version cannot read.

    Raises:
        SnapshotError: says which version can.
    """
    if (saved.layout, saved.layout_id) == (LAYOUT, LAYOUT_ID) or migrations.known(
        saved.layout, saved.layout_id
    ):
        return
    by = f"cxstream {saved.version[:40]}" if saved.version else "another version of cxstream"
    if saved.layout > LAYOUT:
        raise SnapshotError(
            f"the snapshot has layout {saved.layout}, saved by {by}; cxstream {__version__} reads the layouts "
            f"{migrations.STEPS[0].reads} to {LAYOUT}: run {by} or a later one, or rebuild the partition",
            "other",
        )
    raise SnapshotError(
        f"the snapshot has layout {saved.layout} in a form that cxstream {__version__} does not know "
        f"({saved.layout_id or 'no id'}), saved by {by}: run that version, or rebuild the partition",
        "other",
    )


def read_marker(raw: bytes, secrets: Sequence[bytes] = (b"",)) -> Marker:
    """Decode the marker's value in the topic.

    Args:
        raw: the value.
        secrets: accepted keys of the checksums; b"" for checksums without a key, and for layouts without checksums.

    Raises:
        SnapshotError: it cannot be read, its layout is unknown, or its checksum is wrong.
    """
    return open_marker(raw, secrets)[0]


def open_marker(raw: bytes, secrets: Sequence[bytes]) -> tuple[Marker, bytes]:
    """As `read_marker`; also returns the secret that it was saved with."""
    try:
        _require_known(msgspec.json.decode(raw, type=_Layout))
        marker = msgspec.json.decode(raw, type=Marker)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SnapshotError(
            f"the snapshot's marker cannot be read ({error}): rebuild the partition"
        ) from error
    if not marker.is_sealed and b"" in secrets:
        return marker, b""
    if marker.is_sealed:
        for secret in secrets:
            if marker.is_written(raw, secret):
                return marker, secret
    raise _unsealed(raw, marker, secrets)


def _unsealed(raw: bytes, marker: Marker, secrets: Sequence[bytes]) -> SnapshotError:
    """Why a marker's checksum is invalid."""
    if any(secrets):
        if not marker.is_sealed or marker.is_written(raw, b""):
            return SnapshotError(
                "the snapshot was saved without a key, and control.key is set: if the key is new, that was to be "
                "expected once, else somebody without it writes to the topic: rebuild the partition",
                "forged",
            )
        return SnapshotError(
            "the snapshot's marker was not saved under control.key, or is damaged: rebuild the partition",
            "forged",
        )
    if len(marker.checksum) == KEYED_DIGITS:
        return SnapshotError(
            "the snapshot was saved under a control.key, and none is set: rebuild the partition", "other"
        )
    return SnapshotError("the snapshot's marker is damaged: rebuild the partition from its log")
