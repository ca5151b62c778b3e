"""Every problem of a record.

The decoder stops at the first thing that is wrong. So the record is decoded again and again, each time with a good value
in the place that it named, until nothing is wrong any more: what is found is what the decoder rejects, by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cxstream.model.changes import CHANGE_TYPE, Change
from cxstream.model.events import EVENT_TYPE
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE
from cxstream.model.kinds import type_of as kind_type
from cxstream.model.rules import problems as rules_problems
from cxstream.scoring.codec.decode import FORGED, INVALID, MALFORMED, decode
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary
from cxstream.validate import names, sentences
from cxstream.validate.locate import (
    Span,
    at_byte,
    at_path,
    byte_of,
    bytes_of,
    members,
    patched,
    text_of,
    values_at,
)
from cxstream.validate.repairs import Repair, of_missing, of_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.scoring.codec.decode import Rejected

MOST = 64
"""Problems that are looked for in one record: more than it has fields of its own."""

_BLANKS = " \t\r\n"
_DEFAULT = "cx.touchpoint.page_view.v1"
_CANDIDATES: tuple[Any, ...] = (
    None, "2025-01-01T00:00:00Z", "1.0", "call", "EUR", "service", "treated", "0" * 64, 1, True, [],
)  # fmt: skip
_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a record.

    Attributes:
        reason: why it is rejected, as malformed or invalid; "" of a warning.
        field: path of the field, "" where it is the record as a whole.
        message: what is wrong, in words; it follows the path.
        meant: what was probably meant, "" where nobody knows.
        value: what stands there, in JSON; None where nothing does.
        where: its place in the record's text; None where it has none.
        repair: how a fix file would mend it; None where no repair is certain.
        advice: what else to do; "" if there is nothing.
    """

    reason: str
    field: str
    message: str
    meant: str = ""
    value: str | None = None
    where: Span | None = None
    repair: Repair | None = None
    advice: str = ""

    @property
    def level(self) -> Literal["error", "warning"]:
        """Whether the record is rejected for it."""
        return "error" if self.reason else "warning"

    @property
    def sentence(self) -> str:
        """All of it but the place."""
        field = f"{self.field}: " if self.field else ""
        meant = f"; did you mean {self.meant}?" if self.meant else ""
        advice = f"{' ' if meant else '; '}{self.advice}" if self.advice else ""
        return f"{field}{self.message}{meant}{advice}"


def problems(raw: bytes, first: Rejected | None, vocabulary: Vocabulary = BUILT_IN) -> list[Problem]:
    """Errors and warnings of a record.

    Args:
        raw: the record as a structured event.
        first: why the decoder rejects it; None where it does not.
        vocabulary: the kinds of events that there are.
    """
    wrong = errors(raw, first, vocabulary) if first is not None else []
    if wrong and wrong[0].reason not in {INVALID, FORGED}:
        return wrong
    told = {each.repair.path for each in wrong if each.repair is not None and each.repair.action == "rename"}
    return [*wrong, *(each for each in warnings(raw) if each.field not in told)]


def errors(raw: bytes, first: Rejected, vocabulary: Vocabulary = BUILT_IN) -> list[Problem]:
    """What is wrong with a record that is rejected, the first thing first.

    Args:
        raw: the record as a structured event.
        first: why the decoder rejects it.
        vocabulary: the kinds of events that there are.
    """
    if first.reason != INVALID or first.field == "key":
        return [_of_record(raw, first)]
    text, found, rejected = text_of(raw), dict[str, Problem](), first
    while rejected.field not in found and len(found) < MOST:
        here = type_of(text)
        if here == RULES_TYPE and rejected.field.startswith("data."):
            # Everything that is wrong with a set is known at once.
            found |= {each.field: each for each in _of_rules(raw, text)}
            text = patched(text, "data", "{}")
        else:
            found[rejected.field] = _of_field(raw, text, rejected, here, vocabulary)
            text = patched(text, rejected.field, _good(text, rejected.field, here, vocabulary))
        again = decode([bytes_of(text)], vocabulary=vocabulary).rejected
        if not again or again[0].reason != INVALID:
            break
        rejected = again[0]
    return list(found.values())


def warnings(raw: bytes) -> list[Problem]:
    """What is probably not meant in a record that is one JSON object, whether it is valid or not.

    Args:
        raw: the record as a structured event.
    """
    try:
        event = _attributes(raw)
        event_type = _text(event.get("type"))
        data = (
            {}
            if event_type in (TICK_TYPE, FORGET_TYPE, RULES_TYPE)
            else _attributes(event.get("data", b"{}"))
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    found = [*_strange_attributes(event)]
    if event_type != CHANGE_TYPE:
        found += _about_the_customer(event)
    found += [_unknown_field(name, data) for name in data if name not in names.fields_of(event_type)]
    return [_placed(raw, each) for each in found]


def _placed(raw: bytes, problem: Problem) -> Problem:
    span = at_path(raw, problem.field)
    value = span.text[span.start : span.end] if span is not None else None
    return Problem("", problem.field, problem.message, problem.meant, value, span)


def type_of(text: str) -> str:
    """The event type that the rest of a record is held against."""
    found = [_text(text[start:end].encode(errors="replace")) for start, end in values_at(text, "type")]
    return found[-1] if found else ""


_ENVELOPES = {each.__struct_config__.tag: each for each in (*EVENT_TYPE.__args__, Change)}
_FIELDS = frozenset(names.FIELDS)
_ATTRIBUTES = frozenset(names.ATTRIBUTES)


def _text(raw: Any) -> str:
    """A JSON string; "" for anything else."""
    if raw is None:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _of_record(raw: bytes, first: Rejected) -> Problem:
    if first.field == "key":
        return Problem(first.reason, "key", sentences.KEY, where=at_path(raw, "subject"))
    where = None
    if first.reason == MALFORMED and (position := byte_of(first.message)) is not None:
        where = at_byte(raw, position)
    elif first.field:
        where = at_path(raw, first.field)
    return Problem(first.reason, first.field, sentences.of_record(first.reason, first.message), where=where)


def _of_rules(raw: bytes, text: str) -> Iterator[Problem]:
    """What is wrong with a set of rules."""
    [*_, (start, end)] = values_at(text, "data")
    for each in rules_problems(msgspec.json.decode(bytes_of(text[start:end]))):
        span = at_path(raw, each.field)
        yield Problem(INVALID, each.field, each.reason, where=span)


def _of_field(raw: bytes, text: str, rejected: Rejected, event_type: str, vocabulary: Vocabulary) -> Problem:
    """A problem in the words of the contract; its place is that in the record as it came."""
    path = rejected.field
    value = _bad_value(text, path, event_type, vocabulary)
    message = sentences.of_field(path, value, event_type, rejected.message, vocabulary)
    if value is None:
        meant, repair = of_missing(path, _siblings(text, path))
    else:
        meant, repair = of_value(path, value, event_type, vocabulary)
    advice = ""
    if path == "type" and value is not None and repair is None:
        advice = sentences.of_unknown_kind(_text(value.encode(errors="replace")))
    return Problem(rejected.reason, path, message, meant, value, _span(raw, path, value), repair, advice)


def _span(raw: bytes, path: str, value: str | None) -> Span | None:
    """Where the value stands that is at fault; where none stands, the object that should have it."""
    text = text_of(raw)
    for start, end in values_at(text, path) if value is not None else ():
        if text[start:end] == value:
            return Span(text, start, end)
    return at_path(raw, path)


def _bad_value(text: str, path: str, event_type: str, vocabulary: Vocabulary) -> str | None:
    """The value at fault: of a name that comes twice, the first that the decoder refuses by itself."""
    found = [text[start:end] for start, end in values_at(text, path)]
    if len(found) <= 1:
        return found[0] if found else None
    base = patched(text, path, _good(text, path, event_type, vocabulary))
    bad = (
        value
        for value in found
        if decode([bytes_of(patched(base, path, value))], vocabulary=vocabulary).rejected
    )
    return next(bad, found[-1])


def _siblings(text: str, path: str) -> list[str]:
    """The names in the object that should have a field."""
    objects = [start for start, _ in values_at(text, path.rpartition(".")[0]) if text[start] == "{"]
    return [name for start in objects for name, _ in members(text, start)]


def _good(text: str, path: str, event_type: str, vocabulary: Vocabulary) -> str:
    """A value in JSON that the decoder accepts at a path."""
    if path == "type":
        found = values_at(text, "type")
        said = _text(text[slice(*found[-1])].encode(errors="replace")) if found else ""
        meant = names.event_type(said, vocabulary.own) if found else None
        return msgspec.json.encode(meant.name if meant else _DEFAULT).decode()
    return _accepted(path, event_type, vocabulary)


@lru_cache(maxsize=512)
def _accepted(path: str, event_type: str, vocabulary: Vocabulary) -> str:
    if path == "data" and event_type == RULES_TYPE:
        return "{}"
    if path == "data":
        inner = {
            name: msgspec.json.decode(_accepted(f"data.{name}", event_type, vocabulary))
            for name in names.fields_of(event_type)
            if _accepted(f"data.{name}", event_type, vocabulary) != "null"
        }
        return msgspec.json.encode(inner).decode()
    if "[" in path:
        return '"x"'
    if path == "time":
        return '"2025-01-01T00:00:00Z"'
    kind = _struct(event_type, path, vocabulary)
    for field in msgspec.structs.fields(kind):
        if field.encode_name == path.rpartition(".")[2]:
            return next(msgspec.json.encode(each).decode() for each in _CANDIDATES if _fits(each, field.type))
    return "null"


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _struct(event_type: str, path: str, vocabulary: Vocabulary) -> Any:
    """The type that has a path's last name."""
    envelope = _ENVELOPES.get(event_type, _ENVELOPES[_DEFAULT])
    if not path.startswith("data."):
        return envelope
    known = event_type in _ENVELOPES or event_type in map(kind_type, vocabulary.own)
    return sentences.data_type(event_type if known else _DEFAULT, vocabulary)


# --- warnings


def _strange_attributes(event: dict[str, msgspec.Raw]) -> Iterator[Problem]:
    """Attributes that are none of CloudEvents or of an extension, by the look of them."""
    for name in event:
        if name in _ATTRIBUTES:
            continue
        if name in _FIELDS:
            yield Problem(
                "", name, "a field of data that stands outside of it: it is ignored", f"data.{name}"
            )
        elif name == "data_base64":
            yield Problem("", name, "not read: send data as a JSON object")
        elif (guess := names.attribute(name)) is not None and guess.name not in event:
            yield Problem("", name, "an unknown attribute: it is ignored", guess.name)


def _about_the_customer(event: dict[str, msgspec.Raw]) -> Iterator[Problem]:
    subject, key = _text(event.get("subject")), event.get("partitionkey")
    if subject != subject.strip():
        yield Problem("", "subject", "has blanks at its ends: that is another customer than one without")
    if key is not None and _text(key) != subject:
        yield Problem("", "partitionkey", "differs from the subject: the Kafka key must be the subject")


def _unknown_field(name: str, data: dict[str, msgspec.Raw]) -> Problem:
    guess = None if name in sentences.OUTER else names.field(name)
    meant = "" if guess is None or guess.name in data else guess.name + sentences.unit_of(guess.name)
    return Problem("", f"data.{name}", sentences.unknown_field(name), meant)
