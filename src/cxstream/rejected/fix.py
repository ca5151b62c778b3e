"""Fix files: small repairs of rejected records, and mapping files for records that are no touchpoints yet.

A fix file is TOML, a list of `[[fix]]`; each that fits is applied in order to the structured event:

    [[fix]]
    when = { type = "cx.touchpoint.contact.v1", "data.channel" = "phone" }
    rename = { "data.waited" = "data.wait_s" }
    map = { "data.channel" = { phone = "call" } }
    set = { "data.stage" = "service" }
    drop = ["data.score"]

A mapping file is one of `cxstream convert mapping`: each rejected record is a row of it.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from cxstream.convert.drafts import encode
from cxstream.convert.mapping import load as load_mapping
from cxstream.convert.paths import written
from cxstream.convert.report import Report
from cxstream.convert.rules import events_of
from cxstream.model.cloudevents import structured
from cxstream.model.errors import CloudEventError, CxstreamError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.rejected.record import Rejection

Scalar: TypeAlias = str | int | float | bool
_MISSING = object()
_IDENTITY = ("id", "source")


class UnfixableError(CxstreamError):
    """A record that a fix or mapping file cannot make an event of."""


class Fix(Struct, frozen=True, forbid_unknown_fields=True):
    """One repair. Paths have dots between names.

    Attributes:
        when: what the event must hold at these paths; every event where nothing is said.
        rename: moves values, from path to path.
        map: what stands at a path, and what it becomes; anything else stays.
        set: puts a value at a path.
        drop: takes paths away.
    """

    when: dict[str, Scalar | list[Scalar]] = {}
    rename: dict[str, str] = {}
    map: dict[str, dict[str, Scalar]] = {}
    set: dict[str, Any] = {}
    drop: list[str] = []

    def __post_init__(self) -> None:
        if not (self.rename or self.map or self.set or self.drop):
            raise ValueError("a [[fix]] does nothing: give it rename, map, set or drop")


class Fixes(Struct, frozen=True, forbid_unknown_fields=True):
    """A fix file."""

    fix: list[Fix]


def load(path: Path) -> Callable[[Rejection], list[bytes]]:
    """Read a fix file or a mapping file; the function that makes structured events of a rejected record.

    Raises:
        InputError: it cannot be read, or is neither; names the key.
    """
    try:
        parsed = tomllib.loads(path.read_text("utf-8"))
        fixes = msgspec.convert(parsed, Fixes).fix if "fix" in parsed else None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {error}; docs/oncall.md explains fix files") from error
    if fixes is not None:
        return lambda rejection: [apply(fixes, rejection)]
    return _mapped(path)


def parse(text: str) -> Callable[[Rejection], list[bytes]]:
    """The same of the text of a fix file, such as the one that `explain` proposes.

    Raises:
        InputError: it is none.
    """
    try:
        fixes = msgspec.convert(tomllib.loads(text), Fixes).fix
    except (ValueError, RecursionError) as error:
        raise InputError(f"{error}; docs/oncall.md explains fix files") from error
    return lambda rejection: [apply(fixes, rejection)]


def _mapped(path: Path) -> Callable[[Rejection], list[bytes]]:
    mapping = load_mapping(path)

    def convert(rejection: Rejection) -> list[bytes]:
        problems: list[str] = []
        report = Report(on_problem=lambda problem: problems.append(f"{problem.field}: {problem.message}"))
        place = rejection.place
        name = f"{place.topic}-{place.partition}"
        drafts = events_of(mapping, _object(rejection), place.offset, name, report)
        if problems or not drafts:
            raise UnfixableError("; ".join(problems) or "the mapping makes no event of it")
        return [encode(draft) for draft in drafts]

    return convert


def _object(rejection: Rejection) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(structured(rejection.headers, rejection.value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, CloudEventError) as error:
        raise UnfixableError(f"no JSON object to start from: {error}") from error
    if not isinstance(event, dict):
        raise UnfixableError("no JSON object to start from")
    return event


def apply(fixes: list[Fix], rejection: Rejection) -> bytes:
    """The structured event that a record becomes.

    Raises:
        UnfixableError: no fix fits it, or a fix may not do what it does.
    """
    event = _object(rejection)
    before = [event.get(name, _MISSING) for name in _IDENTITY]
    fitting = [fix for fix in fixes if _fits(fix, event)]
    if not fitting:
        raise UnfixableError("no [[fix]] fits it")
    for fix in fitting:
        _apply(fix, event)
    for name, old in zip(_IDENTITY, before, strict=True):
        # The same id is what makes a record that its source has repeated meanwhile count once.
        if isinstance(old, str) and old and event.get(name) != old:
            raise UnfixableError(
                f"the fix changes its {name}: a record that is sent again keeps id and source"
            )
    return msgspec.json.encode(event)


def _fits(fix: Fix, event: dict[str, Any]) -> bool:
    for path, wanted in fix.when.items():
        texts = {written(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
        if written(_get(event, path)) not in texts:
            return False
    return True


def _apply(fix: Fix, event: dict[str, Any]) -> None:
    for old, new in fix.rename.items():
        value = _take(event, old)
        if value is not _MISSING:
            _put(event, new, value)
    for path, table in fix.map.items():
        text = written(_get(event, path))
        if text is not None and text in table:
            _put(event, path, table[text])
    for path, value in fix.set.items():
        _put(event, path, value)
    for path in fix.drop:
        _take(event, path)


def _inside(event: dict[str, Any], path: str, *, make: bool = False) -> tuple[dict[str, Any] | None, str]:
    """The object that has, or would have, the last name of a path."""
    *way, last = path.split(".")
    here: Any = event
    for name in way:
        if make and not isinstance(here.get(name), dict):
            here[name] = {}
        here = here.get(name)
        if not isinstance(here, dict):
            return None, last
    return here, last


def _get(event: dict[str, Any], path: str) -> Any:
    inside, name = _inside(event, path)
    return _MISSING if inside is None else inside.get(name, _MISSING)


def _take(event: dict[str, Any], path: str) -> Any:
    inside, name = _inside(event, path)
    return _MISSING if inside is None else inside.pop(name, _MISSING)


def _put(event: dict[str, Any], path: str, value: Any) -> None:
    inside, name = _inside(event, path, make=True)
    if inside is not None:
        inside[name] = value
