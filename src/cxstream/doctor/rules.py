"""Check of the rules: whether all partitions have the same, and whether the settings say others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.doctor.finding import Finding, Patient, ok, warning
from cxstream.model.rules import rules_of
from cxstream.rules.log import agree, in_force
from cxstream.scoring import words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cxstream.model.rules import Rules
    from cxstream.rules.log import Standing


async def rules(patient: Patient) -> AsyncIterator[Finding]:
    """Which rules are in force, and whether partitions, or the log and the settings, differ."""
    settings = patient.settings
    for finding in judge(await in_force(settings), rules_of(settings.scoring, settings.actions)):
        yield finding


def judge(found: Sequence[Standing], own: Rules) -> list[Finding]:
    """What the rules in force mean.

    Args:
        found: the rules of each partition.
        own: the rules of the settings.
    """
    said = []
    if not agree(found):
        groups: dict[str, list[str]] = {}
        for each in found:
            groups.setdefault(each.rules.rules.label, []).append(str(each.partition))
        listed = "; ".join(f"{label} in {', '.join(numbers)}" for label, numbers in groups.items())
        said.append(
            warning(
                f"partitions have different rules: {listed}",
                "'cxstream rules show' says who wrote them; 'cxstream rules apply FILE' writes a set to all of them",
            )
        )
    others = {
        each.rules.rules.label for each in found if each.rules.of_log and not each.rules.rules.is_same(own)
    }
    if others:
        said.append(
            warning(
                f"the settings say {own.label}, and the log says {', '.join(sorted(others))}: the log holds, and "
                "[scoring] and [actions] of the settings have no effect",
                "'cxstream rules show' says what differs: take the rules over into the settings, or put those of the "
                "settings in force with 'cxstream rules apply FILE'",
            )
        )
    if said:
        return said
    of = "the log" if found and found[0].rules.of_log else "the settings: the log has no rules"
    return [ok(f"{found[0].rules.rules.label} in {words.count(len(found), 'partition')}, from {of}")]
