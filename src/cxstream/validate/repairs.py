"""How a fix file would mend a problem, where there is no doubt about it; and what was meant, where there is one."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from cxstream.convert.paths import written
from cxstream.model.kinds import RULES_TYPE
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary
from cxstream.validate import names, sentences

if TYPE_CHECKING:
    from collections.abc import Iterable

Scalar: TypeAlias = str | int | float | bool

_TRUE, _FALSE = {"true", "yes", "y", "1", "t"}, {"false", "no", "n", "0", "f"}
_LETTERS = 3  # of a currency
# Times of events are of this century: seconds since 1970, or milliseconds.
_SECONDS, _MILLISECONDS = (946_684_800, 4_102_444_800), (946_684_800_000, 4_102_444_800_000)


class Repair(NamedTuple):
    """A step of a fix.

    Attributes:
        action: the key of `[[fix]]`.
        path: what it is applied to.
        new: the new value of `map` and `set`, the new path of `rename`.
        old: how the value is written that `map` replaces.
    """

    action: Literal["map", "rename", "set", "drop"]
    path: str
    new: Scalar = ""
    old: str = ""


def of_missing(path: str, beside: Iterable[str]) -> tuple[str, Repair | None]:
    """What a missing field may be called in the record.

    Args:
        path: of the field.
        beside: the names in the object that should have it.
    """
    above, _, name = path.rpartition(".")
    guess_of = names.field if above else names.attribute
    known = set(names.FIELDS if above else names.ATTRIBUTES)
    for other in beside:
        guess = None if other in known else guess_of(other)
        if guess is not None and guess.name == name:
            old = f"{above}.{other}" if above else other
            # A path of a fix file has dots between names.
            sure = guess.sure and "." not in other
            return f'it by "{other}"', Repair("rename", old, path) if sure else None
    if path == "specversion":
        return "", Repair("set", path, "1.0")
    return "", None


def of_value(
    path: str, value: str, event_type: str, vocabulary: Vocabulary = BUILT_IN
) -> tuple[str, Repair | None]:
    """What a wrong value is meant to be.

    Args:
        path: of the field.
        value: what stands there, in JSON.
        event_type: of the event.
        vocabulary: the kinds of events that there are.
    """
    if event_type == RULES_TYPE and path.startswith("data"):
        return "", None
    try:
        found = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError):
        return "", None
    wanted, _ = sentences.type_at(event_type, path, vocabulary)
    if isinstance(found, str) and (path == "type" or (path != "specversion" and sentences.allowed(wanted))):
        return _of_enumeration(path, found, sentences.allowed(wanted), tuple(vocabulary.own))
    new = _time(found) if path == "time" else _converted(path, found, wanted)
    old = written(found)
    if new is None or old is None:
        return "", _dropped(path, event_type, vocabulary)
    if "[" in path:
        # A fix file has no paths to items of an array.
        return msgspec.json.encode(new).decode(), _dropped(path, event_type, vocabulary)
    return msgspec.json.encode(new).decode(), Repair("map", path, new, old)


def _of_enumeration(
    path: str, text: str, known: tuple[str, ...], own: tuple[str, ...]
) -> tuple[str, Repair | None]:
    guess = names.event_type(text, own) if path == "type" else names.value(path, text, known)
    if guess is None:
        return "", None
    return f'"{guess.name}"', Repair("map", path, guess.name, text) if guess.sure else None


def _dropped(path: str, event_type: str, vocabulary: Vocabulary) -> Repair | None:
    """To leave an optional field out: the record counts without it."""
    name = path.partition("[")[0]
    if not name.startswith("data.") or sentences.is_required(event_type, name, vocabulary):
        return None
    return Repair("drop", name)


def _converted(path: str, found: Any, wanted: Any) -> Scalar | None:
    """The same value in the type that is wanted; None where that is not certain."""
    if path == "specversion":
        return "1.0" if written(found) in {"1", "1.0"} else None
    match wanted:
        case inspect.BoolType():
            text = (written(found) or "").strip().lower()
            return True if text in _TRUE else False if text in _FALSE else None
        case inspect.FloatType():
            return _number(found) if isinstance(found, str) else None
        case inspect.StrType(pattern=pattern) if pattern:
            text = found.strip().upper() if isinstance(found, str) else ""
            return text if len(text) == _LETTERS and text.isascii() and text.isalpha() else None
        case inspect.StrType() if not isinstance(found, str | bool):
            return written(found)
    return None


def _number(text: str) -> int | float | None:
    try:
        number = msgspec.json.decode(text.strip())
    except (msgspec.MsgspecError, UnicodeError):
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return None
    return number


def _time(found: Any) -> str | None:
    """A time by RFC 3339; None where its offset is not known."""
    try:
        if isinstance(found, str):
            moment = dt.datetime.fromisoformat(found.strip())
            return None if moment.tzinfo is None else _with_its_offset(moment)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        for (first, end), scale in ((_SECONDS, 1), (_MILLISECONDS, 1000)):
            if first <= found < end:
                return _with_its_offset(dt.datetime.fromtimestamp(found / scale, dt.UTC))
    except (ValueError, OverflowError):
        pass
    return None


def _with_its_offset(moment: dt.datetime) -> str:
    """A moment as RFC 3339, in the time zone in which the source gave it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
