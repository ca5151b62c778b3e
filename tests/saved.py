"""Snapshots taken apart and put together again, so that tests can alter them under checksums that are right."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from cxstream.kernels.layout import ROW
from cxstream.kernels.pack import TOLD_BYTES
from cxstream.scoring.state.marker import MARKER_KEY, Marker, digest, read_marker
from cxstream.scoring.state.seal import readable
from default_1 import DEFAULT_1

if TYPE_CHECKING:
    from cxstream.model.parameters import ScoringParams

Rows = dict[bytes, bytes]


def marker_of(rows: Rows, secret: bytes = b"") -> Marker:
    """The marker of stored rows."""
    return read_marker(rows[MARKER_KEY], (secret,))


def payloads(rows: Rows, secret: bytes = b"") -> Rows:
    """What stands in stored rows, the marker left out."""
    return readable({key: row for key, row in rows.items() if key != MARKER_KEY}, secret)


def sealed(payloads: Rows, generation: int = 0, secret: bytes = b"") -> Rows:
    """Payloads as they are stored."""
    return {key: closed(key, payload, generation, secret) for key, payload in payloads.items()}


def closed(key: bytes, payload: bytes, generation: int = 0, secret: bytes = b"") -> bytes:
    """A row with its trailer, as `cxstream.scoring.state.seal` describes it."""
    row = payload + generation.to_bytes(8, "little")
    if not secret:
        return row + crc32(key + row).to_bytes(4, "little")
    named = len(key).to_bytes(4, "little") + key + row
    return row + hashlib.blake2b(named, key=secret, digest_size=16, person=b"cxstream-row").digest()


def altered(rows: Rows, secret: bytes = b"", **changes: Any) -> Rows:
    """The marker of stored rows with other fields, under a checksum that is right."""
    fields = msgspec.structs.asdict(marker_of(rows, secret)) | changes
    return {MARKER_KEY: Marker(**fields).encode(secret)}


def of_layout_2(rows: Rows, params: ScoringParams | None = None) -> Rows:
    """Stored rows as layout 2 had them."""
    marker = msgspec.json.decode(rows[MARKER_KEY])
    new = (
        "partition",
        "generation",
        "cluster",
        "group",
        "epoch",
        "layout_id",
        "version",
        "purchases",
        "tallies",
        "checksum",
    )
    new += ("key", "rules", "ahead_ms", "floor", "visit_floor")
    old = {name: value for name, value in marker.items() if name not in new} | {"layout": 2}
    old["params"] = digest(params or DEFAULT_1, "", 2)
    customers = {key: _without_told(row) for key, row in payloads(rows).items() if key[:1] == b"c"}
    kept = {key: row for key, row in payloads(rows).items() if key[:1] not in (b"p", b"k")}
    return {**kept, **customers, MARKER_KEY: msgspec.json.encode(old)}


def _without_told(row: bytes) -> bytes:
    """A packed customer as version 2 had it: without the last signal."""
    at = 1 + ROW.fields["notified_level"][1]  # type: ignore[index]
    announced = row[at : at + 1] > b"\0"  # a damaged row may end before it
    return bytes([2]) + (row[1:-TOLD_BYTES] if announced else row[1:])
