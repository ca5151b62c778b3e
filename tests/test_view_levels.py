"""The view `levels` against a walk through each customer's signals."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.warehouse.views import definition, query
from cxstream.warehouse.views.selection import Filter, Selection
from cxstream.warehouse.views.statistics import wilson
from view_rows import DAYS, START, answer, answers, database, made_up, made_up_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from view_rows import Row

ROWS = made_up(17, 900, 25)
CAUSES = {(row["partition"], row["offset"]): row for row in ROWS}
SIGNALS = made_up_signals(17, ROWS, 300)
# Two signals of one moment: the one with the larger number counts.
SIGNALS += [{**SIGNALS[0], "id": "again", "n": 1000, "previous": "high", "level": "critical"}]
END = max(row["time"] for row in ROWS)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS, SIGNALS)


def cause(signal: Row) -> Row:
    found = CAUSES[signal["partition"], signal["offset"]]
    return found if found["customer_id"] == signal["customer_id"] else defaultdict(lambda: None)


def histories() -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for signal in sorted(SIGNALS, key=lambda one: (one["time"], one["partition"], one["offset"], one["n"])):
        found[signal["customer_id"]].append(signal)
    return found


def starts(grain: str | None, since: datetime, until: datetime) -> list[tuple[datetime | None, datetime]]:
    """Start and end of each period that touches the window."""
    if grain is None:
        return [(None, until)]
    day = since.replace(hour=0, minute=0)
    start = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[grain]
    found = []
    while start < until:
        ahead = {"day": 1, "week": 7, "month": 31}[grain]
        after = start + timedelta(days=ahead)
        after = after.replace(day=1) if grain == "month" else after
        found.append((start, min(after, until)))
        start = after
    return found


def expected(
    grain: str | None, since: datetime | None, until: datetime | None, days: float, few: int, kept: Callable[[Row], bool],
    group: Callable[[Row], Any],
) -> dict[tuple[Any, ...], Row]:  # fmt: skip
    first = min(signal["time"] for signal in SIGNALS)
    low = max(first, since or first)
    high = min(END + timedelta(milliseconds=1), until or datetime.max)  # noqa: DTZ901 - the read model has UTC without a zone
    periods = starts(grain, low, high)
    rows: dict[tuple[Any, ...], Row] = defaultdict(
        lambda: {"customers": 0, "value_at_risk": None, **dict.fromkeys(("entered", "left_it", "risen", "eased", "cleared"), 0)}
    )  # fmt: skip
    within = timedelta(days=days)
    for signals in histories().values():
        for start, end in periods:
            before = [signal for signal in signals if signal["time"] < end]
            if before and kept(before[-1]):
                row = rows[start, group(before[-1]), before[-1]["level"]]
                row["customers"] += 1
                if before[-1]["value_at_risk"] is not None:
                    row["value_at_risk"] = (row["value_at_risk"] or 0) + before[-1]["value_at_risk"]
        for place, signal in enumerate(signals):
            inside = low <= signal["time"] < high
            if not (inside and kept(signal)):
                continue
            [start] = {
                start for start, end in periods if (start is None or start <= signal["time"]) and signal["time"] < end
            }  # fmt: skip
            row = rows[start, group(signal), signal["level"]]
            row["entered"] += 1
            rows[start, group(signal), signal["previous"]]["left_it"] += 1
            if signal["change"] in {"raised", "worsened"} and signal["time"] + within <= END:
                then = {
                    one["change"] for one in signals[place + 1 :] if one["time"] <= signal["time"] + within
                }
                row["risen"] += 1
                row["eased"] += bool(then & {"eased", "cleared"})
                row["cleared"] += "cleared" in then
    for row in rows.values():
        count = row["risen"]
        for name in ("eased", "cleared"):
            shares = (row[name] / count, *wilson(row[name], count)) if count >= max(few, 1) else (None,) * 3
            row |= dict(zip((f"{name}_share", f"{name}_low", f"{name}_high"), shares, strict=True))
        row["too_few"] = "eased_share, cleared_share" if 0 < count < few else None
    return dict(rows)


@pytest.mark.parametrize(
    ("grain", "since", "until", "within", "few"),
    [
        (None, None, None, "7", 0),
        (None, START + 5 * 24 * HOUR, START + 9 * 24 * HOUR, "2.5", 10),
        ("day", None, None, "5", 1),
        ("week", START + 60 * HOUR, START + 250 * HOUR, "3", 5),
        ("month", START - 900 * HOUR, START + DAYS * 48 * HOUR, "30", 3),
    ],
)
def test_levels_are_what_the_last_signal_said(
    connection: duckdb.DuckDBPyConnection, grain: Any, since: Any, until: Any, within: str, few: int
) -> None:
    found = answer(
        connection,
        "levels",
        by=("channel",),
        grain=grain,
        since=since,
        until=until,
        where=(Filter("topic", ("invoice",), negated=True),),
        options={"within": within},
        few=few,
    )
    groups = expected(
        grain, since, until, float(within), few, lambda one: cause(one)["topic"] != "invoice",
        lambda one: cause(one)["channel"],
    )  # fmt: skip
    assert len(found) == len(groups) > 10
    for row in found:
        wanted = groups[row.pop("period", None), row.pop("channel"), row.pop("at_level")]
        assert row == pytest.approx(wanted)


def test_everybody_with_a_signal_is_at_one_level(connection: duckdb.DuckDBPyConnection) -> None:
    view = definition.view("levels")
    found = answer(connection, "levels", grain="day")
    last = [row for row in found if row["period"] == max(one["period"] for one in found)]
    assert sum(row["customers"] for row in last) == len({signal["customer_id"] for signal in SIGNALS})
    assert [row["at_level"] for row in last] == ["critical", "high", "elevated", "none"]
    day = (START + timedelta(days=8)).isoformat()
    high = Selection(grain="day", cell={"period": day, "at_level": "high"})
    names = {one["customer"] for one in answers(connection, query.customers(view, high))}
    end = START + timedelta(days=9)
    assert names == {
        f"c-{customer}"
        for customer, signals in histories().items()
        if [one["level"] for one in signals if one["time"] < end][-1:] == ["high"]
    }
    assert names


@pytest.mark.parametrize("hours", [(-500, -400), (2000, 3000)])
def test_outside_of_the_data(connection: duckdb.DuckDBPyConnection, hours: tuple[int, int]) -> None:
    since, until = (START + count * HOUR for count in hours)
    assert answer(connection, "levels", since=since, until=until, grain="day") == []


def test_without_signals() -> None:
    assert answer(database(ROWS[:3]), "levels", grain="day") == []
