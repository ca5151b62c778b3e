"""Which experiments hold now: those of the settings, if the latest touchpoint was judged by the rules of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.model.rules import rules_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.page import Ask
    from cxstream.model.experiments import Experiment

# Of the last time alone: the order of all touchpoints takes a second for millions.
_LATEST = """
SELECT arg_max(model, ("partition", "offset")) AS model FROM touchpoints WHERE time = (SELECT max(time) FROM touchpoints)"""


async def experiments(ask: Ask) -> Mapping[str, Experiment] | None:
    """The experiments of the rules in force; None where nobody knows these rules here."""
    (row,) = await ask.reader.sql(_LATEST)
    if row["model"] not in {None, rules_of(ask.settings.scoring, ask.settings.actions).label}:
        return None
    return ask.settings.scoring.experiments or {}
