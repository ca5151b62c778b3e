"""From a view and a selection to SQL, and to its rows.

Placeholders in the SQL of a view:

- `{selected}`: the selected touchpoints, with `level` and `period`; `{selected and before}`: also those of the
  period before the window.
- `{around DAYS}`: the condition of the window and so many days on either side; words after the number name options
  whose days are added.
- `{filtered}`: the condition of the filters without the window.
- `{since}`, `{until}`: the bounds of the window, or NULL.
- `{buckets RELATION}`: the periods, with their ends (`closing`), between `start` and `stop` of a relation; without a grain
  one without a name.
- `{where}`: the condition of the selection, over columns named as the dimensions; `{period}`: the expression of the period, of the
  column `time` or of one that is named.
- `{by}`: the columns to group by, each with a comma behind it; `{group}`: the clause for them.
- `{step}`, `{journey}`, `{in_journey}`, `{journey_key}`, `{journey_customers}`, `{part}`, `{breaks EARLIER LATER}`: of
  journeys, by the options `place`, `per`, `within` and `who`; `cxstream.warehouse.views.journeys` says what they are.
- `{time before}`: the time of the step before, where `{part}` needs it.
- `{reaching}`: where journeys reach the steps of a funnel, by its options.
- `{same ONE OTHER}`: the condition that rows of two relations are of one group, with AND behind it.
- `{first_by}`: the groups of the first touchpoint of a journey; `{with_first_by RELATION}` joins those of a relation.
- `{top COLUMN SMALL}`: leaves out the rows that the limit cuts, of one `COLUMN` those with the largest `SMALL`, if it is named; ties
  stay.
- `{causes}`: the touchpoints that signals are joined with; none where the selection asks for nothing of them.
- `{team RELATION}`: its column `team`, with a comma behind it, where the selection needs it.
- `{worth}`: the latest score cards of customers who have not left, with what they are expected to bring; `{sum COLUMN}`: a sum
  that is the same in any order, to a millionth.
- `{few}`: the least number of answers; `{option NAME}`: the value of an option, bound.
- `{MEASURE}`: the condition of the rows that a measure counts.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.model.errors import InputError
from cxstream.warehouse.query import value
from cxstream.warehouse.views import teams
from cxstream.warehouse.views.definition import NUMBER, TEXT
from cxstream.warehouse.views.journeys import Journeys, in_any_order, strict
from cxstream.warehouse.views.selection import PERIOD, TEAM, Selection, filters
from cxstream.warehouse.views.statistics import distinct_customers, install
from cxstream.warehouse.views.streamed import plan
from cxstream.warehouse.views.streamed.slices import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb
    import pyarrow as pa

    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.streamed.plan import Streamed

CUSTOMERS = "customers"
"""The measure of every view that counts customers, not rows."""

_PLACEHOLDER = re.compile(r"\{([\w ]+)\}")
_PARAMETER = re.compile(r"\$(\w+)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# The most that an option may be: days in milliseconds stay whole numbers.
_MOST = 1_000_000_000


_GRAINS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=28),
}
# Dimensions that `daily` has, by its columns; `daily_by` has the others.
_DAILY = {name: name for name in ("kind", "source", "channel", "touchpoint", "stage", "topic")} | {
    "level": "level_after"
}
# Placeholders that `Journeys` has the text of.
_OF_JOURNEYS = ("journey", "in_journey", "journey_key", "journey_customers", "part")
# Steps of a funnel.
_MOST_STEPS = 8
_WORTH = """(
    SELECT customer_id, time, announced AS level, p_alive, clv, value_at_risk, spent
    FROM cards ANTI JOIN (
        SELECT customer_id FROM touchpoints WHERE kind IN ('churned', 'won_back')
        GROUP BY customer_id HAVING arg_max(kind, (time, "partition", "offset")) = 'churned'
    ) USING (customer_id)
)"""
# Memory for a bit for each customer in each group and thread.
_MOST_BITMAP_BYTES = 128 << 20


class Query(NamedTuple):
    """SQL and what it needs.

    Attributes:
        sql: with named parameters.
        values: to bind to them.
        by: dimensions of its groups.
        periods: at most so many periods each; 0 where nobody knows.
        teams: patterns of agents by team, where it needs teams.
        streamed: the same rows by a faster way, if there is one.
    """

    sql: str
    values: dict[str, Any]
    by: tuple[str, ...] = ()
    periods: int = 1
    teams: Mapping[str, Sequence[str]] | None = None
    streamed: Streamed | None = None


def result(view: View, selection: Selection, limit: int | None = None) -> Query:
    """The query for the rows of a view.

    Raises:
        InputError: the view does not have what is selected.
    """
    selection.check(view)
    cells = _cells(selection)
    sql = f"{view.rows}\n{view.result}"
    found = _composed(view, selection, sql, cells, limit, chosen=selection.columns)
    if not plan.can_stream(view, selection):
        return found
    shown = _composed(view, selection, plan.shown(view), cells, limit, chosen=selection.columns)
    rows = plan.rows(view, selection)
    earlier = earlier_start(selection) if "{selected and before}" in rows else None
    asked, words = (
        Asked(touchpoints.sql, touchpoints.values, earlier or selection.since, selection.until)
        for touchpoints in (
            _composed(view, selection, sql, _Cells([], {}), None) for sql in (rows, plan.words(view))
        )
    )
    most = None if cells.conditions else limit
    return found._replace(
        streamed=plan.streamed(view, selection, (shown.sql, shown.values), (asked, words), most)
    )


def customers(view: View, selection: Selection, measure: str = CUSTOMERS, limit: int | None = None) -> Query:
    """The query for the customers behind the cells of a selection: customer, rows, first and last time.

    The rows of all customers add up to the measure; where the measure is `customers`, each customer counts once.

    Raises:
        InputError: the view does not have what is selected, or does not count this measure.
    """
    selection.check(view)
    if measure not in view.behind:
        raise InputError(
            f"view {view.name} does not list the customers behind {measure!r}; --of takes {', '.join(view.behind)}"
        )
    cells = _cells(selection)
    conditions = " AND ".join([f"({view.behind[measure]})", *cells.conditions])
    sql = f"""{view.rows},
found AS (
    SELECT customer_id, count(*) AS "rows", min(time) AS first_time, max(time) AS last_time
    FROM {view.relation} WHERE {conditions} GROUP BY customer_id
)
SELECT customer, "rows", found.first_time, found.last_time FROM found JOIN customers USING (customer_id)
ORDER BY "rows" DESC, customer"""
    return _composed(view, selection, sql, _Cells([], cells.values), limit, before=False)


def over(view: View, selection: Selection, sql: str) -> Query:
    """A query over the rows that the cells of a selection add up, for what a view has no column for.

    Args:
        view: with the rows.
        selection: what of them is chosen.
        sql: a query over the relation `found`, which has the columns of the view's rows.

    Raises:
        InputError: the view does not have what is selected.
    """
    selection.check(view)
    cells = _cells(selection)
    conditions = " AND ".join(cells.conditions) or "true"
    rows = f"{view.rows},\nfound AS (SELECT * FROM {view.relation} WHERE {conditions})\n{sql}"
    return _composed(view, selection, rows, _Cells([], cells.values), None, before=False)


class _Cells(NamedTuple):
    conditions: list[str]
    values: dict[str, Any]


def _cells(selection: Selection) -> _Cells:
    """The cells as conditions on the columns that name a row of the result."""
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for number, (column, wanted) in enumerate(selection.cell.items()):
        if wanted is None:
            conditions.append(f'"{column}" IS NULL')
            continue
        name = f"cell_{number}"
        if column == PERIOD:
            conditions.append(f'"{column}" = ${name}')
            values[name] = _period_of(wanted)
        else:
            conditions.append(f'CAST("{column}" AS VARCHAR) = ${name}')
            values[name] = str(wanted)
    return _Cells(conditions, values)


def _period_of(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise InputError(f"--cell {PERIOD}={text}: is no time, such as 2026-03-02") from error


def _composed(
    view: View,
    selection: Selection,
    sql: str,
    cells: _Cells,
    limit: int | None,
    *,
    before: bool = True,
    chosen: Sequence[str] = (),
) -> Query:
    """Fill the placeholders, and bind what they need."""
    # Conditions on cells choose rows after the query has ordered them.
    filler = _Filler(view, selection, before=before, limit=None if cells.conditions else limit)
    # A condition of a measure may hold placeholders itself.
    for _ in range(2):
        sql = _PLACEHOLDER.sub(filler.text, sql)
    if cells.conditions:
        sql = f"SELECT * FROM ({sql}) WHERE {' AND '.join(cells.conditions)}"
    if chosen:
        names = ", ".join(f'"{name}"' for name in dict.fromkeys([*selection.row_names(view), *chosen]))
        sql = f"SELECT {names} FROM ({sql})"
    if limit is not None:
        sql = f"SELECT * FROM ({sql}) LIMIT {limit:d}"
    # What the text does not need after all, such as the time of a funnel of one step, is not bound.
    needed = set(_PARAMETER.findall(sql))
    values = {name: value for name, value in {**filler.values, **cells.values}.items() if name in needed}
    teams = selection.teams if selection.asks_for_teams else None
    return Query(sql, values, selection.by, _periods(selection), teams)


class _Filler:
    """Fills the placeholders of one query."""

    def __init__(self, view: View, selection: Selection, *, before: bool, limit: int | None) -> None:
        self._view = view
        self._selection = selection
        self._before = before
        self._limit = limit
        self.values: dict[str, Any] = {}

    def text(self, found: re.Match[str]) -> str:
        """What stands in the place of a placeholder."""
        name, _, rest = found[1].partition(" ")
        if name == "option":
            return self._option(rest)
        if name in self._view.behind:
            return f"({self._view.behind[name]})"
        if name == "around":
            return self._around(rest.split())
        if name == "selected" and rest:
            return self._selected_and_before()
        if name in _OF_JOURNEYS:
            return str(getattr(self._journeys(), name))
        return str(getattr(self, f"_{name}")(*rest.split()))

    def _columns(self) -> list[str]:
        selection = self._selection
        return [f'"{name}"' for name in (*((PERIOD,) if selection.grain else ()), *selection.by)]

    def _by(self) -> str:
        return "".join(f"{column}, " for column in self._columns())

    def _group(self) -> str:
        columns = self._columns()
        return f"GROUP BY {', '.join(columns)}" if columns else ""

    def _partition(self) -> str:
        return "PARTITION BY period" if self._selection.grain else ""

    def _order(self) -> str:
        return "period, " if self._selection.grain else ""

    def _partition_by(self) -> str:
        columns = self._columns()
        return f"PARTITION BY {', '.join(columns)}" if columns else ""

    def _same(self, one: str, other: str) -> str:
        """A missing value is the same as a missing value."""
        return "".join(
            f"{one}.{column} IS NOT DISTINCT FROM {other}.{column} AND " for column in self._columns()
        )

    def _first_by(self) -> str:
        """The groups of the first touchpoint of a journey; a missing value stays missing."""
        order = 'time, "partition", "offset"'
        return "".join(f"first({column} ORDER BY {order}) AS {column}, " for column in self._columns())

    def _with_first_by(self, relation: str) -> str:
        """A join with the groups of journeys, where there are any."""
        if not self._columns():
            return ""
        keys = self._journeys().journey
        return f"JOIN (SELECT {self._first_by()}{keys} FROM {relation} GROUP BY {keys}) USING ({keys})"

    def _journeys(self) -> Journeys:
        """What the options say of journeys."""
        place = self._option("place").strip("'")
        # The steps of a funnel are all within a time; a journey of another view ends with it.
        if "within" not in self._view.options or "steps" in self._view.options:
            within = None
        else:
            within = self._option("within")
            if not self.values["option_within"]:
                within = None
                del self.values["option_within"]
        who = self._option("who").strip("'") if "who" in self._view.options else "all"
        return Journeys(self._option("per").strip("'"), place, within, who)

    def _step(self) -> str:
        return f'"{self._journeys().place}"'

    def _breaks(self, earlier: str, later: str) -> str:
        return self._journeys().breaks(earlier, later)

    def _time(self, _: str) -> str:
        journeys = self._journeys()
        if journeys.within is None:
            return "NULL::TIMESTAMP"
        return f'lag(time) OVER (PARTITION BY {journeys.journey} ORDER BY time, "partition", "offset")'

    def _reaching(self) -> str:
        within, journey = self._option("within"), self._journeys().journey
        count = min(
            _MOST_STEPS,
            self._selection.options.get("steps", self._view.options["steps"].default).count(">") + 1,
        )
        written = strict if self._option("order") == "'strict'" else in_any_order
        return written(count, journey, within)

    def _top(self, column: str, small: str = "") -> str:
        if self._limit is None:
            return ""
        order = f"{self._order()}{column} DESC" + (f", {small}" if small else "")
        return f"QUALIFY rank() OVER (ORDER BY {order}) <= {self._limit:d}"

    def _then_by(self) -> str:
        return "".join(f", {column}" for column in self._columns())

    def _few(self) -> str:
        return str(int(self._selection.few))

    def _period(self, time: str = "time") -> str:
        grain = self._selection.grain
        return f"date_trunc('{grain}', {time})" if grain else "NULL::TIMESTAMP"

    def _where(self) -> str:
        return self._bound(*self._selection.conditions())

    def _filtered(self) -> str:
        return self._bound(*filters(self._selection.where))

    def _team(self, relation: str) -> str:
        return f"{relation}.{TEAM}," if self._selection.asks_for_teams else ""

    def _causes(self) -> str:
        asked = self._selection.by or self._selection.where
        return "touchpoints" if asked else "(FROM touchpoints WHERE false)"

    def _worth(self) -> str:
        return _WORTH

    def _sum(self, column: str) -> str:
        return f"sum(round({column} * 1e6)::HUGEINT) / 1e6"

    def _since(self) -> str:
        return self._bound_of("since", self._selection.since)

    def _until(self) -> str:
        return self._bound_of("until", self._selection.until)

    def _bound_of(self, name: str, time: datetime | None) -> str:
        if time is None:
            return "NULL::TIMESTAMP"
        self.values[name] = time
        return f"${name}::TIMESTAMP"

    def _buckets(self, bounds: str) -> str:
        grain = self._selection.grain
        if grain is None:
            return f"(SELECT NULL::TIMESTAMP AS period, stop AS closing FROM {bounds} WHERE start < stop)"
        starts = f"generate_series(date_trunc('{grain}', start), stop - INTERVAL 1 MILLISECOND, INTERVAL 1 {grain})"
        return (
            f"(SELECT period, least(period + INTERVAL 1 {grain}, stop) AS closing"
            f" FROM (SELECT unnest({starts}) AS period, stop FROM {bounds} WHERE start < stop))"
        )

    def _around(self, parts: Sequence[str]) -> str:
        """The window and some days on either side of it."""
        days = int(parts[0])
        for name in parts[1:]:
            days += math.ceil(self._number(name))
        conditions = []
        for name, sign, bound in (
            ("since", ">=", self._selection.since),
            ("until", "<", self._selection.until),
        ):
            if bound is not None and (moved := _moved(bound, -days if name == "since" else days)):
                self.values[f"{name}_around_{days}"] = moved
                conditions.append(f"time {sign} ${name}_around_{days}")
        return " AND ".join(conditions) or "true"

    def _selected(self) -> str:
        return self._subquery(self._where())

    def _subquery(self, condition: str, more: str = "") -> str:
        return (
            f"(SELECT *, {self._period()} AS period{more}"
            f" FROM (SELECT *, level_after AS level FROM touchpoints) WHERE {condition})"
        )

    def _bound(self, conditions: Sequence[str], values: dict[str, Any]) -> str:
        self.values.update(values)
        return " AND ".join(conditions) or "true"

    def _selected_and_before(self) -> str:
        """Touchpoints with `is_before`: of the period before the window, which is as long as the window, or one grain."""
        selection = self._selection
        earlier = earlier_start(selection) if self._before else None
        if selection.since is None or earlier is None:
            return self._subquery(self._where(), ", false AS is_before")
        condition = self._bound(*replace(selection, since=earlier).conditions())
        self.values["window"] = selection.since
        return self._subquery(condition, ", time < $window AS is_before")

    def _is_same(self) -> str:
        """The condition that `before` is a group's own past."""
        grain = self._selection.grain
        same = [f'before."{name}" IS NOT DISTINCT FROM now."{name}"' for name in self._selection.by]
        if grain is None:
            return " AND ".join([*same, "before.is_before"])
        outside = f"before.period < date_trunc('{grain}', $window::TIMESTAMP)"
        if self._selection.since is None:
            outside = "false"
        else:
            self.values["window"] = self._selection.since
        return " AND ".join(
            [*same, f"before.period = now.period - INTERVAL 1 {grain}", f"before.is_before = ({outside})"]
        )

    def _option(self, name: str) -> str:
        option = self._view.options[name]
        chosen = self._selection.options.get(name, option.default)
        if NUMBER in option.choices:
            self.values[f"option_{name}"] = self._number(name)
        elif TEXT in option.choices:
            self.values[f"option_{name}"] = chosen
        elif chosen in option.choices:
            return f"'{chosen}'"
        else:
            raise InputError(
                f"view {self._view.name}: {name}={chosen!r} is none of {', '.join(option.choices)}"
            )
        return f"$option_{name}"

    def _number(self, name: str) -> float:
        """The value of an option that is a number."""
        default = self._view.options[name].default
        chosen = self._selection.options.get(name, default)
        if _NUMBER.fullmatch(chosen) is None:
            raise InputError(f"view {self._view.name}: {name}={chosen!r} is no number, like {default}")
        if float(chosen) > _MOST:
            raise InputError(f"view {self._view.name}: {name}={chosen} is more than {_MOST:,}")
        return float(chosen)


def _moved(time: datetime, days: int) -> datetime | None:
    """A time so many days later; None where there is no such time."""
    try:
        return time + timedelta(days=days)
    except OverflowError:
        return None


def earlier_start(selection: Selection) -> datetime | None:
    """Where the period before the window begins; None where it has no start or no end."""
    since, until = selection.since, selection.until
    if since is None:
        return None
    if selection.grain is not None:
        return _a_grain_before(since, selection.grain)
    try:
        return None if until is None else since - (until - since)
    except OverflowError:
        # There is no such time.
        return None


def _a_grain_before(time: datetime, grain: str) -> datetime:
    """The start of the period before the one of `time`."""
    day = time.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == "hour":
        return time.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    if grain == "day":
        return day - timedelta(days=1)
    if grain == "week":
        return day - timedelta(days=day.weekday() + 7)
    return (day.replace(day=1) - timedelta(days=1)).replace(day=1)


def run(connection: duckdb.DuckDBPyConnection, query: Query) -> duckdb.DuckDBPyConnection:
    """Execute a query; the rows wait in the cursor that comes back, which ends its transaction when it is closed."""
    cursor, sql, values = _prepared(connection, query)
    return cursor.execute(sql, values)


def table(connection: duckdb.DuckDBPyConnection, query: Query) -> pa.Table:
    """The rows of a query in Arrow's columns."""
    cursor, sql, values = _prepared(connection, query)
    return cursor.sql(sql, params=values).to_arrow_table()


def _prepared(
    connection: duckdb.DuckDBPyConnection, query: Query
) -> tuple[duckdb.DuckDBPyConnection, str, dict[str, Any]]:
    """A cursor with what the SQL needs, the SQL, and the values to bind to it."""
    cursor = connection.cursor()
    # Functions belong to the database: in a transaction, two readers would disturb each other.
    install(cursor)
    # All statements of a query see one commit: there is room for the customers who were counted, and not for those who come.
    cursor.execute("BEGIN")
    if query.teams is not None:
        teams.install(cursor, query.teams)
    if query.streamed is not None and query.streamed.install(cursor):
        return cursor, query.streamed.sql, query.streamed.values
    highest: int = value(cursor, "SELECT coalesce(max(customer_id), 0) FROM customers")
    # Twice: the window and the period before.
    needed = 2 * highest / 8 * _groups(cursor, query)
    if query.periods and needed <= _MOST_BITMAP_BYTES:
        cursor.execute(distinct_customers(highest))
    return cursor, query.sql, query.values


def _groups(cursor: duckdb.DuckDBPyConnection, query: Query) -> int:
    """How many groups a query has at most, by the values that there are."""
    groups = query.periods
    for dimension in query.by:
        if dimension == TEAM:
            found = len(query.teams or ())
        elif dimension in _DAILY:
            found = value(cursor, f"SELECT count(DISTINCT {_DAILY[dimension]}) FROM daily")
        else:
            found = value(
                cursor, "SELECT count(DISTINCT value) FROM daily_by WHERE dimension = ?", [dimension]
            )
        # One more: touchpoints without a value.
        groups *= found + 1
    return groups


def _periods(selection: Selection) -> int:
    """How many periods a window has at most; 0 where it has no start or no end."""
    if selection.grain is None:
        return 1
    if selection.since is None or selection.until is None:
        return 0
    return (selection.until - selection.since) // _GRAINS[selection.grain] + 3
