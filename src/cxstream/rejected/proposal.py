"""A `[[fix]]` for a rejected record, ready to be pasted into a fix file, where no step of it is a guess.

It is applied to the record and held against the decoder before it is offered: what is proposed would be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.model.errors import CloudEventError
from cxstream.rejected.fix import Fix, Scalar, UnfixableError, apply
from cxstream.scoring.codec.peek import about

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cxstream.rejected.record import Rejection
    from cxstream.validate.problems import Problem
    from cxstream.validate.repairs import Repair

_LONGEST = 200  # characters of a value that is worth to be repeated
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def propose(
    rejection: Rejection, problems: Iterable[Problem], *, is_valid: Callable[[bytes], bool]
) -> str | None:
    """A fix for a record, as TOML; None where there is none that is certain.

    Args:
        rejection: the record, with its value.
        problems: what is wrong with it.
        is_valid: tells whether the decoder accepts a structured event.
    """
    errors = [each for each in problems if each.reason]
    repairs = [each.repair for each in errors if each.repair is not None]
    if not errors or len(repairs) < len(errors) or any(len(each.old) > _LONGEST for each in repairs):
        return None
    fix = _fix(rejection, repairs)
    try:
        fixed = apply([fix], rejection)
    except (UnfixableError, CloudEventError):
        return None
    return _toml(fix) if is_valid(fixed) else None


def _fix(rejection: Rejection, repairs: list[Repair]) -> Fix:
    said = about(rejection.value, rejection.headers)
    when: dict[str, Scalar | list[Scalar]] = {
        name: text
        for name, text in (("type", said.type), ("source", said.source))
        if isinstance(text, str) and text
    }
    return Fix(
        when=when,
        rename={each.path: str(each.new) for each in repairs if each.action == "rename"},
        map={each.path: {each.old: each.new} for each in repairs if each.action == "map"},
        set={each.path: each.new for each in repairs if each.action == "set"},
        drop=sorted({each.path for each in repairs if each.action == "drop"}),
    )


def _toml(fix: Fix) -> str:
    lines = ["[[fix]]"]
    lines += [
        f"{name} = {_value(value)}"
        for name in ("when", "rename", "map", "set", "drop")
        if (value := getattr(fix, name))
    ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case str():
            return _string(value)
        case bool():
            return str(value).lower()
        case float():
            # A float of TOML has digits on both sides of its dot.
            return repr(value)
    return str(value)


def _key(key: str) -> str:
    return key if key and set(key) <= _BARE else _string(key)


def _string(text: str) -> str:
    """A basic string of TOML, in which nothing moves a cursor."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(c: str) -> str:
    if c in {'"', "\\"}:
        return "\\" + c
    if c.isprintable():
        return c
    return f"\\u{ord(c):04x}" if ord(c) <= 0xFFFF else f"\\U{ord(c):08x}"  # noqa: PLR2004 - of four digits
