"""Sets of rules among the records of a file: as in `replay`, a valid one belongs to every partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.errors import CloudEventError
from cxstream.model.kinds import RULES_TYPE
from cxstream.scoring.codec.decode import decode, rules_among
from cxstream.scoring.codec.signatures import SIGNATURE

if TYPE_CHECKING:
    from cxstream.scoring.codec.signatures import Authority

_NAME = RULES_TYPE.encode()
# A type may be written with escapes.
_ESCAPE = b"\\u00"


class RulesReader:
    """Finds the sets of rules that are to be sent.

    Args:
        authority: signs a set without a signature; None: signatures are not required.
        limit: the most bytes of a record.
    """

    def __init__(self, authority: Authority | None, limit: int) -> None:
        self._authority = authority
        self._limit = limit

    def to_send(self, line: bytes) -> bytes | None:
        """A record as it is sent to every partition; None if it is not a valid set of rules."""
        if _NAME not in line and _ESCAPE not in line:
            return None
        if not rules_among(decode([line], limit=self._limit)):
            return None
        signed = self._signed(line)
        if not rules_among(decode([signed], limit=self._limit, authority=self._authority)):
            return None
        return signed

    def _signed(self, line: bytes) -> bytes:
        if self._authority is None:
            return line
        event: dict[str, Any] = msgspec.json.decode(line)
        if event.get(SIGNATURE) is not None:
            return line
        try:
            return msgspec.json.encode(self._authority.sign(event))
        except (CloudEventError, ValueError, RecursionError):
            return line
