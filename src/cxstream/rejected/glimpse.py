"""What a list shows of a rejected record: source, kind, and the value at fault, in a few bytes each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.model.cloudevents import structured
from cxstream.model.errors import CloudEventError
from cxstream.scoring.codec.decode import MALFORMED
from cxstream.scoring.codec.peek import about
from cxstream.validate.locate import text_of, values_at

if TYPE_CHECKING:
    from cxstream.rejected.record import Rejection

_CHARACTERS = 60
_BYTES = 4 * _CHARACTERS


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A rejected record at a glance; "" where nothing is known.

    Attributes:
        source: CloudEvents source.
        kind: kind of touchpoint, or the whole type where it is none.
        value: what stands in the field at fault, in JSON; the beginning of a record that is no JSON.
        raw: cx.rejected has the record, or its key, as it came, and not under a pseudonym.
    """

    source: str = ""
    kind: str = ""
    value: str = ""
    raw: bool = False


def glimpse(rejection: Rejection) -> Glimpse:
    """Look at a record whose value has been read, where there is one."""
    said = about(rejection.value, rejection.headers)
    source = said.source if isinstance(said.source, str) else ""
    reference = rejection.reference
    kept = rejection.value is not None or bool(rejection.headers)
    return Glimpse(
        _short(source),
        _short(said.kind),
        _short(_value(rejection)),
        kept or (reference is not None and bool(reference.sha256)),
    )


def _value(rejection: Rejection) -> str:
    try:
        raw = structured(rejection.headers, rejection.value)
    except CloudEventError:
        raw = rejection.value or b""
    if rejection.reason == MALFORMED:
        return raw[:_BYTES].decode(errors="replace")
    path = "subject" if rejection.field == "key" else rejection.field
    if not path or not raw:
        return ""
    text = text_of(raw)
    try:
        found = values_at(text, path)
    except ValueError:
        return ""
    return text[slice(*found[-1])] if found else "missing"


def _short(text: str) -> str:
    text = text[: _CHARACTERS + 1].encode(errors="replace").decode()
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."
