"""The steps of a funnel: those that are asked for, and those that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cxstream.model.errors import InputError
from cxstream.warehouse.views.values import known_values, unknown_values

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.selection import Selection

OPTION = "steps"
MOST = 8
_NAMED = 20


def read(text: str) -> list[str]:
    """The steps of `A > B > C`.

    Raises:
        InputError: there are too many, one is empty, or one is named twice.
    """
    steps = [step.strip() for step in text.split(">")]
    if len(steps) > MOST:
        raise InputError(f"steps={text}: a funnel has at most {MOST} steps, not {len(steps)}")
    if "" in steps:
        raise InputError(f"steps={text}: a step is empty; put a name before and behind each >")
    twice = next((step for step in steps if steps.count(step) > 1), None)
    if twice is not None:
        raise InputError(f"steps={text}: names {twice!r} twice; a funnel has a step once")
    return steps


def chosen(
    connection: duckdb.DuckDBPyConnection, view: View, selection: Selection
) -> tuple[Selection, list[str]]:
    """A selection with steps that occur where it names none, and what a reader should know about its steps.

    Raises:
        InputError: the steps are no steps of a funnel.
    """
    if OPTION not in view.options:
        return selection, []
    place = selection.options.get("place", view.options["place"].default)
    named = selection.options.get(OPTION)
    steps = read(view.options[OPTION].default if named is None else named)
    missing = unknown_values(connection, place, steps)
    if not missing:
        return selection, []
    there = known_values(connection, place, _NAMED)
    known = f"there are {', '.join(there)}" if there else f"no touchpoint has a {place}"
    said = f"no touchpoint has the {place} {', '.join(missing)}: "
    left = [step for step in steps if step not in missing]
    if named is not None or not left:
        return selection, [f"{said}{known}; name the steps with --set 'steps=A > B'"]
    found = " > ".join(left)
    return replace(selection, options={**selection.options, OPTION: found}), [f"{said}the steps are {found}"]
