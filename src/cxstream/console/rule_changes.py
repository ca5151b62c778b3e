"""What rules say other than the defaults, parameter by parameter, and the experiments that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cxstream.console import figures
from cxstream.console.figures import Cell, Grid
from cxstream.model.features import FEATURES, SPECS
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import Rules, rules_of
from cxstream.rules.difference import Change, changes

if TYPE_CHECKING:
    from cxstream.console.page import Ask

SHOWN = 40
"""Changes that the page lists; the CSV has all parameters."""

# Parameters that belong to something with a name of its own: what it is, by the path before that name.
_NAMED = {
    "scoring.coefficients": "reason",
    "scoring.points": "kind",
    "actions": "reason",
}
_LONGEST = 120


def defaults() -> Rules:
    """The rules without any settings."""
    return rules_of(ScoringParams(), {name: SPECS[name].action for name in FEATURES})


def changed(rules: Rules) -> list[Change]:
    """The parameters that differ from the defaults; a kind or an experiment counts as one."""
    return changes(defaults(), rules)


def grid(ask: Ask, found: list[Change]) -> Grid | None:
    """The parameters with their default and what they are; None where there is none."""
    words = ask.language
    if not found:
        return None
    heads = [
        figures.name(words.gettext("Parameter")),
        figures.name(words.gettext("About")),
        figures.head(words.gettext("Default")),
        figures.head(words.gettext("These rules")),
    ]
    rows = [
        [
            Cell(each.parameter, right=False, wide=True),
            Cell(_about(ask, each.parameter), right=False, wide=True, tone="s"),
            _value(each.before),
            _value(each.after, strong=True),
        ]
        for each in found[:SHOWN]
    ]
    return Grid(heads, rows)


def _about(ask: Ask, parameter: str) -> str:
    for path, sort in _NAMED.items():
        if parameter.startswith(f"{path}."):
            name = parameter.removeprefix(f"{path}.").partition(".")[0]
            return ask.label(sort, name)
    return ""


def _value(text: str | None, *, strong: bool = False) -> Cell:
    if text is None:
        return figures.none()
    bare = text[1:-1] if text.startswith('"') else text
    short = bare if len(bare) <= _LONGEST else f"{bare[:_LONGEST]}\N{HORIZONTAL ELLIPSIS}"
    return Cell(short, strong=strong, wide=len(short) > len("0.123456789"))


def experiments(ask: Ask, rules: Rules) -> Grid | None:
    """The experiments, to whom they apply and how many they hold out; None where there is none."""
    words = ask.language
    found = rules.params.experiments or {}
    if not found:
        return None
    heads = [
        figures.name(words.gettext("Experiment")),
        figures.name(words.gettext("Levels")),
        figures.head(words.gettext("Held out")),
    ]
    rows = [
        [
            figures.name(name, f"/experiments?{urlencode({'what': 'experiment', 'name': name})}"),
            Cell(
                ", ".join(ask.label("level", level) for level in each.levels).lower(), right=False, wide=True
            ),
            Cell(words.percent(each.holdout, 0 if round(1000 * each.holdout) % 10 == 0 else 1), strong=True),
        ]
        for name, each in found.items()
    ]
    return Grid(heads, rows)
