"""The framework of views: what is selected, and that a number and the customers behind it agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxstream.model.errors import InputError
from cxstream.warehouse.views import definition, query, values
from cxstream.warehouse.views.selection import (
    GRAINS,
    PERIOD,
    Filter,
    Selection,
    parse_assignment,
    parse_filter,
    values_of,
)  # fmt: skip
from view_rows import (
    CHOICES,
    DAYS,
    START,
    answers,
    database,
    made_up,
    made_up_cards,
    made_up_changes,
    made_up_signals,
)

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.views.definition import View
    from view_rows import Row

ROWS = made_up(1, 500, 25)
VALUES: dict[str, tuple[Any, ...]] = {
    **{name: choices for name, choices in CHOICES.items() if name != "level_after"},
    "level": CHOICES["level_after"],
    "kind": tuple(sorted({row["kind"] for row in ROWS})),
}
TEAMS = {"first": ["a-[13]"], "rest": ["a-?", "b-*"], "nobody": ["A-*"]}
TEAM_OF = {"a-1": "first", "a-2": "rest", "a-3": "first"}
VALUES["team"] = (*TEAMS, None)
# What stands for any number or text in an option.
FREE = {definition.NUMBER: "1.5", definition.TEXT: "awareness > purchase"}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    rejected = [{"day": START.date(), "source": "shop", "reason": "invalid", "records": 3}]
    return database(
        ROWS, made_up_signals(1, ROWS, 150), rejected, made_up_changes(1, 5), made_up_cards(1, 25)
    )


@st.composite
def selections(draw: st.DrawFn, view: View) -> Selection:
    where = []
    for dimension in draw(st.lists(st.sampled_from(view.dimensions), max_size=2)):
        values = st.sampled_from(VALUES[dimension])
        chosen = tuple(draw(st.lists(values, min_size=1, max_size=6)))
        where.append(Filter(dimension, chosen, draw(st.booleans())))
    days = st.integers(0, DAYS * 8).map(lambda eighths: START + timedelta(hours=3 * eighths))
    window = sorted({draw(days), draw(days)})
    options = {
        name: draw(st.sampled_from([FREE.get(choice, choice) for choice in option.choices]))
        for name, option in view.options.items()
    }
    return Selection(
        since=window[0] if draw(st.booleans()) else None,
        until=window[-1] if draw(st.booleans()) and len(window) > 1 else None,
        by=tuple(draw(st.lists(st.sampled_from(view.dimensions), unique=True, max_size=2))),
        grain=draw(st.sampled_from([None, *GRAINS])),
        where=tuple(where),
        options=options,
        teams=TEAMS,
    )


@pytest.mark.parametrize("name", definition.names())
def test_a_number_and_the_customers_behind_it_agree(name: str, connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view(name)
    checked = 0

    @settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        nonlocal checked
        selection = data.draw(selections(view))
        rows = answers(connection, query.result(view, selection))
        if not rows:
            return
        row = data.draw(st.sampled_from(rows))
        cell = {name: row[name] for name in selection.row_names(view)}
        if PERIOD in cell:
            cell[PERIOD] = cell[PERIOD] and cell[PERIOD].isoformat()
        chosen = replace(selection, cell=cell)
        # Two of the measures: each example costs a query for each of them.
        for measure in data.draw(st.lists(st.sampled_from(list(view.behind)), min_size=2, max_size=2)):
            found = answers(connection, query.customers(view, chosen, measure))
            assert len({one["customer"] for one in found}) == len(found)
            counted = len(found) if measure == query.CUSTOMERS else sum(one["rows"] for one in found)
            assert counted == (row[measure] or 0), measure
        assert answers(connection, query.result(view, chosen)) == [row]
        checked += 1

    agree()
    assert checked > 1


@pytest.mark.parametrize("name", definition.names())
def test_a_header_says_every_column(name: str, connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view(name)
    cursor = query.run(connection, query.result(view, Selection()))
    assert view.columns == tuple(column[0] for column in cursor.description or ())
    assert view.summary.endswith(".")
    assert query.CUSTOMERS in view.behind
    assert "## Caveats" in view.header


@pytest.mark.parametrize("name", definition.names())
@pytest.mark.parametrize("grain", [None, "week"])
def test_a_limit_cuts_the_last_rows(name: str, grain: Any, connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view(name)
    selection = Selection(
        by=view.dimensions[:1], grain=grain, options={"per": "session"} if "per" in view.options else {}
    )
    everything = answers(connection, query.result(view, selection))
    assert answers(connection, query.result(view, selection, limit=3)) == everything[:3]


def holds(row: Row, one: Filter) -> bool:
    name = "level_after" if one.dimension == "level" else one.dimension
    found = TEAM_OF.get(row["agent"]) if name == "team" else row[name]
    return (found in one.values) is not one.negated


@pytest.mark.parametrize(
    "name", [name for name in definition.names() if "team" in definition.view(name).dimensions]
)
def test_a_team_is_a_dimension_like_any_other(name: str, connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view(name)
    options = {"per": "session"} if "per" in view.options else {}
    more: dict[str, Any] = {"options": options, "since": START + timedelta(days=2), "few": 2, "teams": TEAMS}

    def found(there: duckdb.DuckDBPyConnection, dimension: str) -> list[Row]:
        where = (Filter(dimension, ("first", "rest", None)), Filter(dimension, ("rest",), negated=True))
        selection = Selection(by=(dimension,), where=where, **more)
        rows = [
            {
                "team" if column == "segment" else column: round(value, 9)
                if isinstance(value, float)
                else value
                for column, value in row.items()
            }
            for row in answers(there, query.result(view, selection))
        ]
        return sorted(rows, key=repr)

    rows = found(connection, "team")
    assert rows == found(teamed(), "segment")
    # Only agents are trained.
    assert {row["team"] for row in rows} == ({"first"} if name == "training" else {"first", None})


@cache
def teamed() -> duckdb.DuckDBPyConnection:
    """The same touchpoints, with the team as a segment."""
    rows = [{**row, "segment": TEAM_OF.get(row["agent"])} for row in ROWS]
    return database(rows, made_up_signals(1, ROWS, 150), (), made_up_changes(1, 5), made_up_cards(1, 25))


def test_teams_that_nobody_has_named(connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view("service")
    for selection in (Selection(by=("team",)), Selection(where=(Filter("team", ("a",)),))):
        with pytest.raises(InputError, match=r"no teams: .*insights\.teams"):
            query.result(view, selection)
    # Nothing of it stays for the next query.
    answers(connection, query.result(view, Selection(by=("team",), teams=TEAMS)))
    assert "team" not in answers(connection, query.result(view, Selection(teams=TEAMS)))[0]


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(selection=selections(definition.view("touchpoints")))
def test_filters_select_what_they_say(connection: duckdb.DuckDBPyConnection, selection: Selection) -> None:
    united: dict[tuple[str, bool], Filter] = {}
    for one in selection.where:
        key = one.dimension, one.negated
        before = united.get(key, Filter(one.dimension, (), one.negated))
        united[key] = Filter(one.dimension, (*before.values, *one.values), one.negated)
    wanted = [
        row
        for row in ROWS
        if all(holds(row, one) for one in united.values())
        and (selection.since is None or row["time"] >= selection.since)
        and (selection.until is None or row["time"] < selection.until)
    ]
    total = replace(selection, by=(), grain=None)
    found = answers(connection, query.result(definition.view("touchpoints"), total))
    assert [row["touchpoints"] for row in found] == ([len(wanted)] if wanted else [])
    listed = answers(connection, query.customers(definition.view("touchpoints"), total))
    assert {row["customer"] for row in listed} == {f"c-{row['customer_id']}" for row in wanted}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("channel=call,chat", Filter("channel", ("call", "chat"))),
        ("topic!=invoice", Filter("topic", ("invoice",), negated=True)),
        (r"touchpoint=search\, all,o'clock", Filter("touchpoint", ("search, all", "o'clock"))),
        ("topic=", Filter("topic", (None,))),
        ("topic=,invoice", Filter("topic", (None, "invoice"))),
        ("topic=invoice,", Filter("topic", ("invoice", None))),
        ("topic=a=b", Filter("topic", ("a=b",))),
    ],
)
def test_filters_are_read(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


def test_a_value_is_never_sql(connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view("touchpoints")
    for value in ("' OR true --", "x'); DROP TABLE touchpoints; --", "%"):
        chosen = Selection(where=(Filter("touchpoint", (value,)),), by=("touchpoint",))
        assert answers(connection, query.result(view, chosen)) == []
        assert (
            answers(connection, query.customers(view, Selection(by=("topic",), cell={"topic": value}))) == []
        )
    assert answers(connection, query.result(view, Selection()))[0]["touchpoints"] == len(ROWS)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(by=("chanel",)), "cannot be grouped by 'chanel'; --by takes channel, touchpoint"),
        (Selection(by=("topic", "topic")), "names a dimension twice"),
        (
            Selection(where=(Filter("customer", ("c",)),)),
            "cannot be filtered by 'customer'; --where takes channel",
        ),
        (Selection(options={"per": "session"}), "has no option 'per'; --set takes nothing"),
        (
            Selection(cell={"topic": "x"}),
            "has no column 'topic'; --cell takes columns that name a row: nothing",
        ),
        (Selection(columns=("nps",)), "has no column 'nps'; --columns takes touchpoints, customers"),
        (Selection(since=START, until=START), "is not before --until"),
    ],
)
def test_what_a_view_does_not_have_is_refused(selection: Selection, message: str) -> None:
    with pytest.raises(InputError, match=message):
        query.result(definition.view("touchpoints"), selection)


def test_wrong_names_and_options_are_refused() -> None:
    with pytest.raises(InputError, match=r"there is no view 'voices'; there are .*voice"):
        definition.view("voices")
    with pytest.raises(
        InputError, match="does not list the customers behind 'nps'; --of takes customers, nps_answers"
    ):
        query.customers(definition.view("voice"), Selection(), "nps")
    journeys = definition.view("journeys")
    with pytest.raises(InputError, match="per='week' is none of customer, session, case"):
        query.result(journeys, Selection(options={"per": "week"}))
    with pytest.raises(InputError, match="within='soon' is no number"):
        query.result(journeys, Selection(options={"within": "soon"}))
    for text in ("channel", "=x", "chan nel=x"):
        with pytest.raises(InputError, match="is not DIMENSION=VALUE"):
            parse_filter(text)
    with pytest.raises(InputError, match="--cell 'x': is not NAME=VALUE"):
        parse_assignment("x", "--cell")
    assert values_of("") == (None,)


def test_known_values_are_those_that_there_are(connection: duckdb.DuckDBPyConnection) -> None:
    assert set(values.known_values(connection, "level")) == set(CHOICES["level_after"])
    assert len(values.known_values(connection, "kind", 3)) == 3


@pytest.mark.parametrize("name", ["touchpoints", "voice", "service", "value", "quality"])
def test_customers_are_the_same_counted_by_bits_and_by_sets(
    name: str, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = definition.view(name)
    window = {"since": START, "until": START + timedelta(days=DAYS)}
    for selection in (
        Selection(),
        Selection(by=("source",), grain="week", **window),
        Selection(where=(Filter("source", ("x",)),)),
    ):
        found = query.result(view, selection)
        by_bits = answers(connection, found)
        with monkeypatch.context() as patched:
            patched.setattr(query, "_MOST_BITMAP_BYTES", -1)
            assert answers(connection, found) == by_bits
