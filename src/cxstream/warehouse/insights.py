"""Places that left their own range, from the touchpoints of a warehouse.

They follow from the touchpoints alone (`cxstream.insights.places`), so the same log gives the same ones, live or later.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from cxstream.insights.detector import Change, Watch
from cxstream.insights.places import COLUMNS, MEASURES, MINUTE_MS, Places, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    import duckdb

    from cxstream.insights.detector import Alarm
    from cxstream.insights.places import Insight
    from cxstream.settings import Insights

SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("ms")),
        ("change", pa.string()),
        ("dimension", pa.string()),
        ("channel", pa.string()),
        ("name", pa.string()),
        ("measure", pa.string()),
        ("since", pa.timestamp("ms")),
        ("visits", pa.int64()),
        ("bad", pa.int64()),
        ("share", pa.float64()),
        ("usual", pa.float64()),
        ("customers", pa.int64()),
    ]
)
_DAY_MINUTES = 24 * 60
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the warehouse has UTC without a zone


def rules_of(settings: Insights) -> Rules:
    """What is watched, by the settings."""
    return Rules(
        hard_points=settings.hard_points,
        long_wait_s=settings.long_wait_s,
        teams=settings.teams,
        most_places=settings.most_places,
        watch=Watch(
            false_alarms=settings.false_alarms / 100 / len(MEASURES), cooldown_hours=settings.cooldown_hours
        ),
    )


def insights(
    connection: duckdb.DuckDBPyConnection, rules: Rules, progress: Callable[[date], None] = lambda _: None
) -> Iterator[Insight]:
    """What is found in all touchpoints, in the order of its minutes.

    Args:
        connection: of a warehouse.
        rules: what is watched.
        progress: told each day that is done.
    """
    places = Places(rules)
    columns = ", ".join(COLUMNS)
    days = [
        day for (day,) in connection.execute("SELECT DISTINCT day FROM touchpoints ORDER BY day").fetchall()
    ]
    for day in days:
        rows = connection.sql(
            f"SELECT {columns} FROM touchpoints WHERE day = ?", params=[day]
        ).to_arrow_table()
        places.add(rows)
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) // 60
        yield from places.close(start + _DAY_MINUTES - 1)
        progress(day)


def as_table(found: list[Insight]) -> pa.Table:
    """Insights as rows of SCHEMA.

    Columns: the end of the minute in which it was found, what changed, the place, the measure, when the change began,
    visits since then and bad ones of them, their share, the usual share at this hour of the week, and customers with bad
    visits since then (none where the place is back in its range).
    """
    rows = [
        {
            "time": _at(each.alarm.minute + 1),
            "change": each.alarm.change.value,
            "dimension": each.place.dimension,
            "channel": each.place.channel or None,
            "name": each.place.name or None,
            "measure": each.measure,
            "since": _at(each.alarm.since),
            "visits": visits_of(each.alarm),
            "bad": each.alarm.bad,
            "share": each.alarm.bad / visits_of(each.alarm),
            "usual": each.alarm.usual,
            "customers": each.customers if each.alarm.change is Change.raised else None,
        }
        for each in found
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def visits_of(alarm: Alarm) -> int:
    """Visits since the change began: one that began before it, and was bad in it, counts too."""
    return max(alarm.visits, alarm.bad, 1)


def _at(minute: int) -> datetime:
    return EPOCH + timedelta(milliseconds=minute * MINUTE_MS)
