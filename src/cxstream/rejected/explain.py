"""Why a record is rejected: every problem that the decoder finds in it, where exactly, and what the schema wants there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cxstream.model.cloudevents import remark, structured
from cxstream.model.errors import CloudEventError
from cxstream.model.kinds import BY_TYPE, RULES_TYPE, TICK_TYPE
from cxstream.model.parameters import MAX_RECORD_BYTES
from cxstream.rejected.proposal import propose
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.peek import about
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary
from cxstream.scoring.engine import check_keys
from cxstream.scoring.failing import may_be_of_record, place_of
from cxstream.scoring.state.passed_over import FAILED
from cxstream.topology import FORGET
from cxstream.validate import sentences
from cxstream.validate.locate import Span, at_path
from cxstream.validate.problems import Problem, problems
from cxstream.wire.schema import rules, tick, touchpoint

if TYPE_CHECKING:
    from cxstream.model.cloudevents import Headers
    from cxstream.rejected.record import Rejection

# It needs no value, so that the decoder, which finds none, has nothing to say of it.
_NO_REQUEST = (
    "an erasure request that could not be followed, by its field or its key; its value is not kept here, or it "
    "has none: docs/privacy.md says what a request is"
)
_EXAMPLES = 3
_GONE = (
    "cx.rejected has a reference to it, not a copy, and its place no longer has the record, or has one that is too large "
    "to be read here: size and digest are all that is known of it"
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything there is to say about a rejected record.

    Attributes:
        problems: what is wrong with it today, errors first, then warnings.
        message: the first of them, or why it was rejected all the same, in a sentence.
        where: the place in the record's text; None where it has none.
        wanted: the part of the JSON Schema for the field; None where no schema speaks of it.
        fix: a `[[fix]]` that makes it valid, as TOML; None where none is certain.
    """

    problems: list[Problem]
    message: str
    where: Span | None
    wanted: dict[str, Any] | None
    fix: str | None = None

    @property
    def problem(self) -> Problem | None:
        """What it is rejected for today; None where it is valid."""
        return next((each for each in self.problems if each.reason), None)


def check(
    value: bytes | None,
    headers: Headers,
    key: bytes | None,
    max_bytes: int = MAX_RECORD_BYTES,
    vocabulary: Vocabulary = BUILT_IN,
) -> list[Problem]:
    """What is wrong with a record, its key included and the time aside: errors first, then warnings."""
    try:
        decoded = decode([value], [headers], keys=[key], limit=max_bytes, vocabulary=vocabulary)
    except Exception as error:
        if not may_be_of_record(error):
            raise
        return [Problem(FAILED, "", f"this version cannot process it: {place_of(error)}; report it")]
    check_keys(decoded, [key])
    rejected = decoded.rejected[0] if decoded.rejected else None
    return problems(text_of(value, headers) or b"", rejected, vocabulary)


def explain(
    rejection: Rejection, max_bytes: int = MAX_RECORD_BYTES, vocabulary: Vocabulary = BUILT_IN
) -> Explanation:
    """Explain a rejection whose value has been read.

    Args:
        rejection: the rejection.
        max_bytes: the most bytes that a record may have (scoring.max_record_bytes).
        vocabulary: the kinds of events that there are.
    """
    if rejection.value is None and rejection.place.topic.endswith(FORGET.contract):
        return Explanation([], _NO_REQUEST, None, _wanted(rejection, rejection.field))
    if rejection.reference is not None and rejection.value is None and not rejection.headers:
        return Explanation([], _GONE, None, None)
    found = check(rejection.value, rejection.headers, rejection.key, max_bytes, vocabulary)
    first = next((each for each in found if each.reason), None)
    if first is None:
        message = sentences.OF_VALID.get(
            rejection.reason, "valid today: the rules, or the schema, have changed since it was rejected"
        )
        return Explanation(found, message, _where(rejection), _wanted(rejection, rejection.field))
    message = "; ".join(filter(None, (first.sentence, _remark(rejection))))
    fix = propose(
        rejection,
        found,
        is_valid=lambda event: not decode([event], limit=max_bytes, vocabulary=vocabulary).rejected,
    )
    return Explanation(found, message, first.where, _wanted(rejection, first.field), fix)


def text_of(value: bytes | None, headers: Headers) -> bytes | None:
    """The structured event that the decoder reads; the bare value where headers and value make up none."""
    try:
        return structured(headers, value)
    except CloudEventError:
        return value


def _remark(rejection: Rejection) -> str:
    """What its headers explain, beside what the decoder says."""
    try:
        return remark(rejection.headers)
    except CloudEventError:
        return ""


def _where(rejection: Rejection) -> Span | None:
    """The place of the field for which a record was rejected that is valid today."""
    raw = text_of(rejection.value, rejection.headers)
    path = "subject" if rejection.field == "key" else rejection.field
    return at_path(raw, path) if raw and path else None


def _wanted(rejection: Rejection, field: str) -> dict[str, Any] | None:
    """What the schema of the record's kind says at a path; of an unknown kind, what all kinds share."""
    if not field:
        return None
    said = about(rejection.value, rejection.headers).type
    kind = said if isinstance(said, str) else ""
    if kind == TICK_TYPE:
        schema = tick()
    elif kind == RULES_TYPE:
        schema = rules()
    else:
        schema = touchpoint(BY_TYPE.get(kind, BY_TYPE["cx.touchpoint.page_view.v1"]))
        if kind not in BY_TYPE:
            schema["properties"]["type"] = _type_of_an_event()
    for step in ("subject" if field == "key" else field).split("."):
        name, is_item, _ = step.partition("[")
        schema = schema.get("properties", {}).get(name, {})
        schema = schema.get("items", {}) if is_item else schema
    schema.pop("properties", None)
    return schema or None


def _type_of_an_event() -> dict[str, Any]:
    """What `type` may be, in a few lines: some of the types, and where all are."""
    return {
        "type": "string",
        "examples": [*BY_TYPE][:_EXAMPLES],
        "description": f"one of {len(BY_TYPE)} types of touchpoints: docs/events.md lists them; in binary mode the "
        "header ce_type",
    }
