"""Which selections kernels can answer, and what they need for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.warehouse.query import value
from cxstream.warehouse.views import steps
from cxstream.warehouse.views.streamed import (
    deliveries,
    edges,
    empathy,
    funnel,
    groups,
    outcomes,
    paths,
    people,
    places,
)
from cxstream.warehouse.views.streamed.room import Room
from cxstream.warehouse.views.streamed.slices import NOTHING, ROWS, Asked, Blocks, count, highest_customer

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import pyarrow as pa

    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.selection import Selection

_VIEWS = {
    "journeys": edges,
    "paths": paths,
    "funnel": funnel,
    "quality": deliveries,
    "moments": outcomes,
    "outcomes": outcomes,
    "empathy": empathy,
    "places": places,
    "people": people,
}
_GROUPED = (places, people)
# More of these need more memory than a view may have, some 1.5 GB: then the SQL has to do.
_MOST_ROWS, _MOST_CUSTOMERS = 64_000_000, 10_000_000
# Each thread reads all rows, and works for its own customers.
_MOST_THREADS = 4
_DAY_MS = 86_400_000
_MOST_US = 1 << 61
# Of all views that kernels work for at a time.
_ROOM = Room(1536 << 20)
# The most that any of the views needs: of rows numbers of edges, journeys and times between, and of customers their state.
_ROW_BYTES, _ROW_THREAD_BYTES, _CUSTOMER_BYTES = 16, 8, 128
# Of a slice, and of the one that is read meanwhile.
_SLICE_BYTES = 120


class Plan(NamedTuple):
    """What a view is made from.

    Attributes:
        asked: which touchpoints.
        names: of the places, in the order of their numbers, which begin at 1.
        rows: how many touchpoints there are at most.
        highest: the largest number of a customer.
        blocks: other numbers of customers.
        within: us after which another journey begins, or a funnel ends; -1 for never.
        options: of the view.
        limit: rows that are shown; None for all.
        threads: how many work at a time.
        by: dimensions of the groups of `groups`.
        has_periods: whether they have periods, too.
        words: which touchpoints have words, of a view that asks for them apart.
        own: the condition of what customers do themselves.
    """

    asked: Asked
    names: list[str]
    rows: int
    highest: int
    blocks: Blocks
    within: int
    options: dict[str, str]
    limit: int | None
    threads: int
    by: tuple[str, ...] = ()
    has_periods: bool = False
    words: Asked = NOTHING
    own: str = "true"


def _bytes(plan: Plan) -> int:
    kept = plan.rows * (_ROW_BYTES + _ROW_THREAD_BYTES * plan.threads) + plan.highest * _CUSTOMER_BYTES
    return kept + min(plan.rows, ROWS) * _SLICE_BYTES


class Streamed(NamedTuple):
    """How a query is answered from touchpoints in the order of time.

    Attributes:
        view: its name.
        sql: the result, from the relations that the kernels make.
        values: to bind to it.
        asked: which touchpoints.
        place: the dimension of places.
        steps: names of places; None for all that there are.
        within: days, as `Plan` has them; 0 for never, except in a funnel.
        options: of the view.
        limit: as `Plan` has it.
        by: likewise.
        has_periods: likewise.
        words: likewise.
        own: likewise.
    """

    view: str
    sql: str
    values: dict[str, Any]
    asked: Asked
    place: str
    steps: list[str] | None
    within: float
    options: dict[str, str]
    limit: int | None
    by: tuple[str, ...] = ()
    has_periods: bool = False
    words: Asked = NOTHING
    own: str = "true"

    def install(self, cursor: duckdb.DuckDBPyConnection) -> bool:
        """Give a cursor the relations that the SQL reads; False if that would take too much memory.

        Args:
            cursor: in a transaction, if records are taken in meanwhile.
        """
        plan = self._plan(cursor)
        if (
            plan.rows > _MOST_ROWS
            or plan.highest > _MOST_CUSTOMERS
            or not 0 < len(plan.names) <= _VIEWS[self.view].MOST_PLACES
        ):
            return False
        follow: Callable[[duckdb.DuckDBPyConnection, Plan], dict[str, pa.Table] | None] = _VIEWS[
            self.view
        ].follow
        with _ROOM.of(_bytes(plan)):
            relations = follow(cursor, plan)
        if relations is None:
            return False
        for name, relation in relations.items():
            cursor.register(f"streamed_{name}", relation)
        return True

    def _plan(self, cursor: duckdb.DuckDBPyConnection) -> Plan:
        names = self.steps
        if names is None:
            found = cursor.execute(
                f'SELECT DISTINCT "{self.place}" FROM daily WHERE "{self.place}" IS NOT NULL ORDER BY 1'
            ).fetchall()
            names = [name for (name,) in found]
        # Of all names that there are, every step is one.
        asked = self.asked._replace(has_none=self.view == "funnel")
        if "$names" in asked.sql:
            asked = asked._replace(values={**asked.values, "names": names})
        within = -1
        if self.within or self.view == "funnel":
            # Times of the warehouse are whole milliseconds.
            within = min(_MOST_US, int(self.within * _DAY_MS) * 1000)
        threads = min(_MOST_THREADS, value(cursor, "SELECT current_setting('threads')"))
        highest = highest_customer(cursor)
        return Plan(
            asked,
            names,
            count(cursor, asked),
            highest,
            Blocks.of(highest, threads),
            within,
            self.options,
            self.limit,
            threads,
            self.by,
            self.has_periods,
            self.words,
            self.own,
        )


def rows(view: View, selection: Selection) -> str:
    """The SQL of the touchpoints of a view, with placeholders."""
    found = _VIEWS[view.name]
    if found is outcomes:
        return outcomes.touchpoints(_options(view, selection))
    if found is empathy:
        return empathy.touchpoints(view)
    if found in _GROUPED:
        return str(found.touchpoints(selection))
    name = f'"{selection.by[0]}"' if selection.by else "''"
    return str(found.ROWS).replace("{place}", f"list_position($names::VARCHAR[], {name})")


def words(view: View) -> str:
    """The SQL of the touchpoints that have words, with placeholders; empty where a view does not ask for them apart."""
    return empathy.words(view) if _VIEWS[view.name] is empathy else ""


def shown(view: View) -> str:
    """The SQL of the result, with placeholders."""
    relations = ", ".join(f"{name} AS (FROM streamed_{name})" for name in _VIEWS[view.name].NAMES)
    return f"WITH {relations}\n{view.shown}"


def can_stream(view: View, selection: Selection) -> bool:
    """Whether kernels can answer it."""
    found = _VIEWS.get(view.name)
    if found in _GROUPED:
        return groups.CODED.issuperset(selection.by)
    if found is None or selection.grain is not None:
        return False
    options = _options(view, selection)
    if view.name == "empathy":
        return not selection.by and options["through"] == "any"
    if "per" not in options:
        return selection.by in {(), ("source",)}
    return not selection.by and options["per"] == "customer" and options.get("element", "step") == "step"


def _options(view: View, selection: Selection) -> dict[str, str]:
    return {name: selection.options.get(name, option.default) for name, option in view.options.items()}


def streamed(
    view: View,
    selection: Selection,
    shown: tuple[str, dict[str, Any]],
    asked: tuple[Asked, Asked],
    limit: int | None,
) -> Streamed:
    """How a query is answered.

    Args:
        view: of the query.
        selection: of the query; its options have been checked.
        shown: the SQL of the result, and the values to bind to it.
        asked: which touchpoints, and those with words.
        limit: rows that are shown; None for all.
    """
    options = _options(view, selection)
    is_grouped = _VIEWS[view.name] in _GROUPED
    names = None if "place" in options or (selection.by and not is_grouped) else [""]
    if "steps" in options:
        names = steps.read(options["steps"])
    return Streamed(
        view=view.name,
        sql=shown[0],
        values=shown[1],
        asked=asked[0],
        place=selection.by[0] if selection.by else options.get("place", ""),
        steps=names,
        within=float(options.get("within", 0)),
        options=options,
        limit=limit,
        by=selection.by,
        has_periods=selection.grain is not None,
        words=asked[1],
        own=empathy.own(view),
    )
