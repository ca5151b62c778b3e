"""A set of rules in a file: TOML with the sections `[scoring]` and `[actions]`, or JSON as `data` of cx.rules.v1 has it.

problem of the reader   data.scoring.kinds.parcel_lost.efort
message                 rules.toml:12: scoring.kinds.parcel_lost.efort: no such parameter; did you mean effort?
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.logs.printable import printable
from cxstream.model.errors import InputError
from cxstream.model.rules import problems, read_rules, rules_of
from cxstream.scoring.codec.signatures import MAX_BYTES
from cxstream.settings import ACTIONS, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cxstream.model.rules import Rules

_SECTIONS = ("scoring", "actions")
# The most bytes of a set: it must be possible to sign the record, which has other attributes, too.
MAX_SET_BYTES = MAX_BYTES - 4096
# Problems that are shown, and characters of each.
_SHOWN, _LONGEST = 20, 1000
# A set has some kilobytes; nothing larger than this is worth reading.
_MAX_FILE_BYTES = 4 << 20
_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def read_file(path: Path) -> Rules:
    """The set of rules in a file; what it does not name has its default.

    Raises:
        InputError: the file cannot be read or is not a valid set; names the file, the line if possible, and the field.
    """
    text = _text(path)
    decoded = _json(path, text) if _is_json(path, text) else _toml(path, text)
    data, strange = decoded, []
    if isinstance(decoded, dict):
        strange = [name for name in decoded if name not in _SECTIONS]
        data = {name: section for name, section in decoded.items() if name in _SECTIONS}
        actions = data.get("actions")
        if isinstance(actions, dict):
            data = {**data, "actions": {**ACTIONS, **actions}}
    found = [_strange_section(path, text, name) for name in strange[:_SHOWN]]
    wrong = problems(data)
    found += [_said(path, text, each.field, each.reason) for each in wrong[:_SHOWN]]
    if found:
        raise InputError(_together(found, len(strange) + len(wrong)))
    read = read_rules(msgspec.json.encode(data))
    whole = rules_of(read.params, {**ACTIONS, **read.actions})
    if len(whole.data) > MAX_SET_BYTES:
        raise InputError(
            f"{path}: the set takes {len(whole.data):,} bytes, and a record of rules has room for {MAX_SET_BYTES:,}: "
            "shorten the descriptions of your own kinds"
        )
    return whole


def _together(found: list[tuple[int, str]], count: int) -> str:
    """All that is wrong, in the order of the lines.

    Args:
        found: lines and what is wrong in them; line 0 where it is not known.
        count: of all problems.
    """
    shown = [said for _, said in sorted(found, key=lambda each: each[0])[:_SHOWN]]
    more = count - len(shown)
    if more:
        shown.append(f"... and {more:,} more problem{'' if more == 1 else 's'}")
    return "\n".join(shown)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
        if len(raw) > _MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {_MAX_FILE_BYTES >> 20} MiB: this is no set of rules")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error


def _is_json(path: Path, text: str) -> bool:
    return path.suffix.lower() == ".json" or text.lstrip().startswith("{")


def _json(path: Path, text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        byte = re.search(r"\(byte (\d+)\)", str(error))
        line = text.encode()[: int(byte[1])].count(b"\n") + 1 if byte else None
        raise InputError(f"{_place(path, line)}: is not JSON: {error}") from error


def _toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        said = str(error).partition(" (at ")[0]
        raise InputError(f"{_place(path, int(found[1]) if found else None)}: is not TOML: {said}") from error


def _place(path: Path, line: int | None) -> str:
    return f"{path}" if line is None else f"{path}:{line}"


def _strange_section(path: Path, text: str, name: str) -> tuple[int, str]:
    if name in Settings.model_fields:
        said = "a section of the settings, not of rules, which are [scoring] and [actions] alone: take it out"
    else:
        said = "no such section; a set of rules has [scoring] and [actions]"
    return _said(path, text, f"data.{name}", said)


def _said(path: Path, text: str, field: str, reason: str) -> tuple[int, str]:
    """The line of a problem, 0 where it is not known, and what is said of it."""
    steps = field.split(".")[1:]
    line = _line(text, steps, json=_is_json(path, text)) if steps else None
    said = printable(f"{'.'.join(steps) + ': ' if steps else ''}{reason}")
    return line or 0, f"{_place(path, line)}: {said if len(said) <= _LONGEST else f'{said[:_LONGEST]}...'}"


def _line(text: str, steps: Sequence[str], *, json: bool) -> int | None:
    """The line of the parameter at a path, or of the table that should have it; None if neither is there."""
    return _line_of_json(text, steps) if json else _line_of_toml(text, list(steps))


def _line_of_json(text: str, steps: Sequence[str]) -> int | None:
    at, found = 0, None
    for step in steps:
        here = re.compile(rf'"{re.escape(step)}"\s*:').search(text, at)
        if here is None:
            break
        at, found = here.end(), text.count("\n", 0, here.start()) + 1
    return found


def _line_of_toml(text: str, steps: list[str]) -> int | None:
    table: list[str] = []
    best, line_of_best = 0, None
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.fullmatch(line):
            here = table = _names(found[1])
        elif found := _KEY.match(line):
            here = table + _names(found[1])
        else:
            continue
        if here == steps[: len(here)] and len(here) > best:
            best, line_of_best = len(here), number
    return line_of_best


def _names(dotted: str) -> list[str]:
    return [each.strip("\"'") for each in re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", dotted)]
