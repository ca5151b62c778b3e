"""What is different between two sets of rules, parameter by parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from cxstream.model.rules import Rules


class Change(NamedTuple):
    """A parameter that differs.

    Attributes:
        parameter: its path, as `scoring.coefficients.complaint`.
        before: its value as JSON; None if there is none.
        after: likewise.
    """

    parameter: str
    before: str | None
    after: str | None


def changes(before: Rules, after: Rules) -> list[Change]:
    """The parameters that differ, in the order of the settings; a kind or an experiment of one set alone counts as one."""
    old, new = _flat(before), _flat(after)
    names = dict.fromkeys([*old, *new])
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _flat(rules: Rules) -> dict[str, str]:
    whole = {
        "scoring": rules.params.model_dump(mode="json", exclude={"max_record_bytes"}, exclude_none=True),
        "actions": dict(rules.actions),
    }
    found: dict[str, str] = {}
    _collect("", whole, found)
    return found


def _collect(path: str, value: Any, found: dict[str, str]) -> None:
    # What only one set has is one change, not one for each of its fields.
    if isinstance(value, dict) and not path.startswith(("scoring.kinds.", "scoring.experiments.")):
        for name, each in value.items():
            _collect(f"{path}.{name}" if path else name, each, found)
    else:
        found[path] = msgspec.json.encode(value).decode()
