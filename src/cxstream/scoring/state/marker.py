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

from cxstream.kernels.invariants import MAX_TIME, MIN_TIME
from cxstream.model.errors import SnapshotError
from cxstream.scoring.state.seal import KEYED_DIGITS, text_checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.parameters import ScoringParams

MARKER_KEY = b"\0marker"
# 3: rows and marker with checksum and generation. 2: the same payloads without.
LAYOUT, LAYOUT_BEFORE = 3, 2
# Parameters that the layout before did not have, and the default of the one that they replace.
_NEW = frozenset(
    {"max_effort", "max_mood", "max_record_bytes", "transfers_max", "worsened", "worsened_hours"}
)
_MAX_POINTS_BEFORE = 1e6

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# The key of a row of remembered ids has six bytes for it, and a kernel packs it beside 20 bits.
Seq = Annotated[int, Meta(ge=0, lt=2**43)]
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
        layout: version of rows and marker.
        params: digest of the parameters that made them.
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
    checksum: str = ""

    @property
    def owner(self) -> Owner:
        """The owner that saved it."""
        return Owner(self.cluster, self.group, self.epoch)

    def _checksum(self, secret: bytes) -> str:
        return text_checksum(msgspec.json.encode(msgspec.structs.replace(self, checksum="")), secret)

    def encode(self, secret: bytes = b"") -> bytes:
        """Its stored form, with a new checksum."""
        return msgspec.json.encode(msgspec.structs.replace(self, checksum=self._checksum(secret)))

    def is_written(self, raw: bytes, secret: bytes = b"") -> bool:
        """Whether `raw` is its stored form, byte for byte."""
        return hmac.compare_digest(raw, self.encode(secret))


def digest(params: ScoringParams, key_id: str = "") -> str:
    """Digest of the parameters and of the key of the pseudonyms: other pseudonyms make another state."""
    return _digest(params.model_dump(mode="json"), key_id)


def digest_before(params: ScoringParams, key_id: str = "") -> str:
    """The digest that the previous layout used: other bounds of points, no `worsened`, the rest as now."""
    known = {name: value for name, value in params.model_dump(mode="json").items() if name not in _NEW}
    return _digest({**known, "max_points": _MAX_POINTS_BEFORE}, key_id)


def _digest(params: dict[str, object], key_id: str) -> str:
    canonical = msgspec.json.encode(params, order="deterministic")
    return hashlib.blake2b(canonical + key_id.encode(), digest_size=16).hexdigest()


def read_marker(raw: bytes, secrets: Sequence[bytes] = (b"",)) -> Marker:
    """Decode the marker's value in the topic.

    Args:
        raw: the value.
        secrets: accepted keys of the checksums; b"" for checksums without a key, and for layout 2.

    Raises:
        SnapshotError: it cannot be read, its layout is unknown, or its checksum is wrong.
    """
    return open_marker(raw, secrets)[0]


def open_marker(raw: bytes, secrets: Sequence[bytes]) -> tuple[Marker, bytes]:
    """As `read_marker`; also returns the secret that it was saved with."""
    try:
        layout = msgspec.json.decode(raw, type=_Layout).layout
        if layout not in {LAYOUT, LAYOUT_BEFORE}:
            raise SnapshotError(
                f"the snapshot has layout {layout}, this is {LAYOUT}: rebuild the partition", "other"
            )
        marker = msgspec.json.decode(raw, type=Marker)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SnapshotError(
            f"the snapshot's marker cannot be read ({error}): rebuild the partition"
        ) from error
    if layout == LAYOUT_BEFORE and b"" in secrets:
        return marker, b""
    if layout == LAYOUT:
        for secret in secrets:
            if marker.is_written(raw, secret):
                return marker, secret
    raise _unsealed(raw, marker, secrets)


def _unsealed(raw: bytes, marker: Marker, secrets: Sequence[bytes]) -> SnapshotError:
    """Why a marker's checksum is invalid."""
    if any(secrets):
        if marker.layout == LAYOUT_BEFORE or marker.is_written(raw, b""):
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


class _Layout(msgspec.Struct):
    layout: int
