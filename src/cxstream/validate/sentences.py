"""What is wrong with a record, in words: one place for `cxstream validate`, `cxstream rejected` and other callers.

The decoder says that something is wrong, and where; the sentence says what stands there, and what must.
"""

from __future__ import annotations

import re
from collections.abc import Callable  # noqa: TC003 - the table below is annotated when it is made
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from cxstream.model.changes import CHANGE_TYPE, Change, ChangeData
from cxstream.model.enumerations import CHANNELS, STAGES
from cxstream.model.events import ENVELOPES, Forget, NewRules, Tick, Touchpoint
from cxstream.model.fields import MAX, Data
from cxstream.model.kinds import BY_TYPE, FORGET_TYPE, RULES_TYPE, TICK_TYPE, type_of
from cxstream.scoring.codec.decode import (
    FORGED,
    FROM_THE_FUTURE,
    MALFORMED,
    MISROUTED,
    TOO_LARGE,
    TOO_LATE,
)
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary
from cxstream.scoring.codec.vocabulary import data_type as own_data_type
from cxstream.scoring.state.passed_over import FAILED, SKIPPED

OF_VALID = {
    TOO_LATE: "valid, but its time was older than the window at the partition's clock: sent again as it is, "
    "it will be too late again",
    FROM_THE_FUTURE: "valid, but its time was later than scoring.future_minutes after the record's Kafka "
    "timestamp (a tick, a set of rules or an erasure request: later than the timestamp itself): the source's clock, or its offset, "
    "was wrong",
    FORGED: "valid, but not signed with the workers' control.key: somebody wrote it into cx.touchpoints past them, or "
    "with another key: docs/security.md, 'Control records'",
    FAILED: "valid, but a worker could not process it: a defect of that version; after an update, send it again",
    SKIPPED: "valid: an operator had the worker skip it, with --skip",
    MISROUTED: "valid, but forwarded three times without arriving in its customer's partition: workers disagreed on how "
    "many partitions there are; sent again, it goes to the right one",
    TOO_LARGE: "valid and not larger than scoring.max_record_bytes, but in another partition than its customer's, and too "
    "large for cx.touchpoints (max.message.bytes) with the header that says so, or without the compression it came with",
}
"""Why a record was rejected that is valid by itself."""

FUTURE = (
    "is later than now by more than scoring.future_minutes: a worker would reject it as from_the_future; "
    "check the clock of the source, and the offset"
)
FUTURE_CONTROL = "is later than now: a control record is never from the future"
KEY = "the Kafka key differs from the subject: key each record by its subject, in UTF-8"

OUTER = frozenset({"subject", "time", "source", "id", "type", "specversion"})
"""Names that only mean something outside of `data`."""

_FIXED = {
    "type": "must be an event type of this contract, like cx.touchpoint.contact.v1",
    "time": "must be a time with an offset (RFC 3339), like 2025-03-01T12:30:00Z or 2025-03-01T12:30:00.250+01:00",
}
_SHOWN = 40  # characters of a value
_KIND = re.compile(r"cx\.touchpoint\.([a-z][a-z0-9_]{0,63})\.v1")
_NO_OFFSET = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?")
_LEAP = re.compile(r"T\d\d:\d\d:60", re.IGNORECASE)
_SCALAR = {"true", "false", "null"}
_PATTERNS = {
    "^[A-Z]{3}$": "three capital letters (ISO 4217), like EUR",
    "^[0-9a-f]{64}$": "64 lower-case hexadecimal digits",
}
_JSON = "JSON is malformed: "
_OTHERS = {TICK_TYPE: Tick, FORGET_TYPE: Forget, RULES_TYPE: NewRules, CHANGE_TYPE: Change}


@lru_cache(maxsize=256)
def data_type(event_type: str, vocabulary: Vocabulary = BUILT_IN) -> type[Data | ChangeData]:
    """The type of `data` of an event type; of an unknown one, what all kinds share."""
    if event_type == CHANGE_TYPE:
        return ChangeData
    kind = BY_TYPE.get(event_type)
    if kind is not None:
        return kind.spec.data
    name = next((name for name in vocabulary.own if type_of(name) == event_type), None)
    return Data if name is None else own_data_type(name, vocabulary.own[name])


@lru_cache(maxsize=1024)
def type_at(event_type: str, path: str, vocabulary: Vocabulary = BUILT_IN) -> tuple[Any, bool]:
    """What the contract wants at a path of an event.

    Args:
        event_type: of the event.
        path: of the field.
        vocabulary: the kinds of events that there are.

    Returns:
        The type, without null, and whether this kind alone wants it so; None and False where it says nothing.
    """
    kind = BY_TYPE.get(event_type)
    envelope: Any = _OTHERS.get(event_type)
    envelope = envelope or (Touchpoint if kind is None else ENVELOPES[kind])
    name = path.partition("[")[0]
    if not name.startswith("data."):
        return _field(envelope, name), False
    if event_type == RULES_TYPE:
        return None, False
    name = name.removeprefix("data.")
    data: Any = data_type(event_type, vocabulary)
    here, everywhere = _field(data, name), _field(Data, name)
    if here is not None and "[" in path:
        here = getattr(here, "item_type", None)
        return here, False
    return here, here != everywhere or _is_required(data, name) != _is_required(Data, name)


def allowed(wanted: Any) -> tuple[str, ...]:
    """The values of an enumeration, in the order of the documents; none where it is no enumeration."""
    return _in_order(wanted.values) if isinstance(wanted, inspect.LiteralType) else ()


def of_field(
    path: str, value: str | None, event_type: str, said: str, vocabulary: Vocabulary = BUILT_IN
) -> str:
    """What is wrong with a field.

    Args:
        path: of the field.
        value: what stands there, in JSON; None where it is missing.
        event_type: of the event.
        said: what the decoder says.
        vocabulary: the kinds of events that there are.
    """
    if event_type == RULES_TYPE and path.startswith("data"):
        return said if value is not None or path != "data" else "is missing; it must be a set of rules"
    wanted, special = type_at(event_type, path, vocabulary)
    label = event_type.split(".")[2] if event_type in {*BY_TYPE, *map(type_of, vocabulary.own)} else ""
    of = f" for kind {label}" if special and label else ""
    words = _FIXED.get(path) or (None if wanted is None else f"must be {_words(wanted)}")
    if words is None:
        return said
    if value is None:
        return f"is missing; it {words}{of}"
    if said == "Number out of range":
        return f"must be a number that a 64-bit float can hold, not {shown(value)}"
    return f"{words}{of}{_instead(path, value, wanted)}"


def _instead(path: str, value: str, wanted: Any) -> str:
    """What stands there instead."""
    if path == "time":
        return f", not {shown(value)}{_time_advice(value)}"
    if value.startswith('"') and isinstance(wanted, inspect.StrType) and not wanted.pattern:
        length = len(_string(value))
        return f", but has {length:,}" if length else ", but is empty"
    if value.startswith("[") and isinstance(wanted, inspect.ListType):
        return ", but has more"
    return f", not {shown(value)}"


def of_unknown_kind(event_type: str) -> str:
    """How to make a kind of the company's own known; "" if the type has another form."""
    named = _KIND.fullmatch(event_type)
    return f"a kind of your own must be in the rules first, as [scoring.kinds.{named[1]}]" if named else ""


def of_record(reason: str, said: str) -> str:
    """What is wrong with a record of which no field is at fault.

    Args:
        reason: why it is rejected.
        said: what the decoder says.
    """
    if reason == MALFORMED:
        return _malformed(said)
    if reason == TOO_LARGE:
        return "larger than scoring.max_record_bytes (1 MiB, unless the settings say otherwise)"
    return said


def unknown_field(name: str) -> str:
    """That a field of `data` is not one of the contract."""
    if name in OUTER:
        return "an attribute of the event, which does not belong into data: it is ignored"
    return "an unknown field: it is ignored"


def unit_of(name: str) -> str:
    """The unit of a field whose name ends in one, in words; "" of any other."""
    return " (in seconds)" if name.endswith("_s") else " (in days)" if name.endswith("_days") else ""


def is_required(event_type: str, path: str, vocabulary: Vocabulary = BUILT_IN) -> bool:
    """Whether a field of `data` must be there in events of a type."""
    return _is_required(data_type(event_type, vocabulary), path.removeprefix("data."))


def shown(value: str) -> str:
    """A JSON value as a sentence shows it."""
    if value.startswith("{"):
        return "an object"
    if value.startswith("["):
        return "an array"
    if len(value) > _SHOWN:
        value = value[:_SHOWN] + ('..."' if value.startswith('"') else "...")
    if value.startswith('"') or value in _SCALAR:
        return value
    return f"the number {value}"


@lru_cache(maxsize=128)
def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a struct by name."""
    info: Any = inspect.type_info(kind)
    return {field.encode_name: field for field in info.fields}


def _field(kind: type[msgspec.Struct], name: str) -> Any:
    field = _fields(kind).get(name)
    found = None if field is None else field.type
    if isinstance(found, inspect.UnionType):
        return next(each for each in found.types if not isinstance(each, inspect.NoneType))
    return found


def _is_required(kind: type[msgspec.Struct], name: str) -> bool:
    field = _fields(kind).get(name)
    return field is not None and bool(field.required)


def _words(wanted: Any) -> str:
    return next((words(wanted) for kind, words in _WORDS.items() if isinstance(wanted, kind)), "an object")


def _enumeration(wanted: inspect.LiteralType) -> str:
    values = _in_order(wanted.values)
    return f'"{values[0]}"' if len(values) == 1 else f"one of {', '.join(values)}"


def _text(wanted: inspect.StrType) -> str:
    if wanted.pattern:
        return _PATTERNS.get(wanted.pattern, f"a string that matches {wanted.pattern}")
    least = f"{wanted.min_length} to" if wanted.min_length else "at most"
    return f"a string of {least} {wanted.max_length:,} characters"


def _number(wanted: inspect.FloatType) -> str:
    what = "a whole number" if wanted.multiple_of == 1 else "a number"
    least, most = wanted.ge, wanted.le
    bounded = most is not None and most < MAX
    if bounded:
        return f"{what} from {least:g} to {most:g}"
    return f"{what} of at least {least:g}" if least is not None and least > -MAX else what


_WORDS: dict[type, Callable[[Any], str]] = {
    inspect.LiteralType: _enumeration,
    inspect.StrType: _text,
    inspect.FloatType: _number,
    inspect.BoolType: lambda _: "true or false",
    inspect.ListType: lambda wanted: f"an array of at most {wanted.max_length} strings",
}


def _in_order(values: tuple[Any, ...]) -> tuple[str, ...]:
    """The values of an enumeration as the documents list them; msgspec sorts them."""
    for known in (CHANNELS, STAGES):
        if set(values) <= set(known):
            return tuple(each for each in known if each in values)
    return tuple(map(str, values))


def _string(value: str) -> str:
    try:
        return str(msgspec.json.decode(value))
    except (msgspec.MsgspecError, UnicodeError):
        return value[1:-1]


def _time_advice(value: str) -> str:
    text = value.strip('"')
    if not value.startswith('"'):
        return ": write a time as text, also where it is known as seconds since 1970"
    if _NO_OFFSET.fullmatch(text):
        return ": it has no offset; end it with Z where it is UTC"
    if _LEAP.search(text):
        return ": there are no leap seconds"
    return ""


def _malformed(said: str) -> str:
    if said.startswith(_JSON):
        said = said.removeprefix(_JSON)
        advice = {
            "object keys must be strings": "; names and strings stand in double quotes",
            "trailing characters": "; one event is one JSON object",
            "invalid character": "; an event is a JSON object, and NaN and infinity are no JSON",
        }
        return (
            f"not JSON: {said}{next((more for begin, more in advice.items() if said.startswith(begin)), '')}"
        )
    if said == "Input data was truncated":
        return "not JSON: it ends early"
    if said.startswith("'utf-8' codec"):
        return "not UTF-8"
    return said
