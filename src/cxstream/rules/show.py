"""The rules in force as JSON and as TOML, and what is remarkable about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.kinds import type_of
from cxstream.model.rfc3339 import rfc3339
from cxstream.model.rules import Rules, rules_of
from cxstream.rules.difference import changes
from cxstream.rules.log import agree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxstream.rules.log import Standing
    from cxstream.settings import Settings

_SHOWN = 5
# Parameters that stand as tables of their own.
_TABLES = frozenset(
    {
        "points",
        "kinds",
        "coefficients",
        "typical",
        "purchase_model",
        "value_model",
        "text_model",
        "experiments",
    }
)


def as_json(settings: Settings, found: Sequence[Standing]) -> str:
    """Everything there is to know, as one JSON object."""
    own = rules_of(settings.scoring, settings.actions)
    said = {
        "partitions": [_partition(each) for each in found],
        "agree": agree(found),
        "settings": own.label,
        "settings_differ": any(not each.rules.rules.is_same(own) for each in found),
        "rules": {
            each.rules.rules.label: {
                "kinds": {
                    name: {"type": type_of(name), **kind.model_dump(mode="json")}
                    for name, kind in each.rules.rules.params.kinds.items()
                },
                "data": msgspec.json.decode(each.rules.rules.data),
            }
            for each in found
        },
    }
    return msgspec.json.format(msgspec.json.encode(said)).decode()


def _partition(each: Standing) -> dict[str, Any]:
    rules = each.rules
    return {
        "partition": each.partition,
        "rules": rules.rules.label,
        "of": "log" if rules.of_log else "settings",
        "source": rules.source or None,
        "id": rules.id or None,
        "time": None if rules.time is None else rfc3339(rules.time),
        "since": None if each.since is None else rfc3339(each.since),
        "offset": rules.offset if rules.of_log else None,
    }


def remarks(settings: Settings, found: Sequence[Standing]) -> Iterator[str]:
    """What an operator should know: partitions that disagree, settings that differ."""
    if not agree(found):
        yield (
            "partitions have different rules: the set was not written to all of them; write it again with "
            "'cxstream rules apply FILE'"
        )
    own = rules_of(settings.scoring, settings.actions)
    others = [each for each in found if each.rules.of_log and not each.rules.rules.is_same(own)]
    if others:
        names = [change.parameter for change in changes(own, others[0].rules.rules)]
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        yield (
            f"[scoring] and [actions] of the settings ({own.label}) differ from the rules in the log "
            f"({others[0].rules.rules.label}): {shown}; the log holds, and the settings have no effect"
        )


def as_toml(rules: Rules) -> str:
    """A set as a file that `read_file` reads."""
    lines = [f"# Rules {rules.label}"]
    whole = {
        "scoring": rules.params.model_dump(mode="json", exclude={"max_record_bytes"}, exclude_none=True),
        "actions": dict(rules.actions),
    }
    for name, table in whole.items():
        _table([name], table, lines)
    return "\n".join(lines) + "\n"


def _table(path: list[str], table: dict[str, Any], lines: list[str]) -> None:
    plain = {
        name: value for name, value in table.items() if not isinstance(value, dict) or _inline(path, name)
    }
    if plain or not table:
        lines += ["", f"[{'.'.join(path)}]"]
    lines += [f"{name} = {_toml(value)}" for name, value in plain.items()]
    for name, value in table.items():
        if name not in plain:
            _table([*path, name], value, lines)


def _inline(path: list[str], name: str) -> bool:
    """Whether a table stands on one line: points."""
    return path == ["scoring", "points"] or (path == ["scoring"] and name not in _TABLES)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(each)}' for name, each in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # JSON's numbers, booleans and strings are TOML's, but for DEL, which TOML wants escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
