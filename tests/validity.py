"""Whether one record is valid by the contract: what the decoder says of it alone."""

from __future__ import annotations

from cxstream.model.parameters import MAX_RECORD_BYTES
from cxstream.scoring.codec.decode import decode


def validate(raw: bytes, limit: int | None = MAX_RECORD_BYTES) -> tuple[str, str, str] | None:
    """Check one structured record against the contract.

    Args:
        raw: the record.
        limit: the most bytes that it may have; None for no limit.

    Returns:
        Reason, field path and message; None where it is good.
    """
    rejected = decode([raw], limit=limit).rejected
    return (rejected[0].reason, rejected[0].field, rejected[0].message) if rejected else None
