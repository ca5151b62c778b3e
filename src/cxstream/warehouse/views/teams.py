"""Teams as a dimension: the touchpoints with the team of their agent.

An agent belongs to the first team that has a pattern for their name, so that the teams of a view add up.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pyarrow as pa

from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb


def team_of(agent: str, teams: Mapping[str, Sequence[str]]) -> str | None:
    """The team of an agent; None without one.

    >>> team_of("b-7", {"billing": ["b-*"], "all": ["*"]})
    'billing'
    """
    return next(
        (team for team, patterns in teams.items() if any(fnmatchcase(agent, each) for each in patterns)), None
    )


def install(cursor: duckdb.DuckDBPyConnection, teams: Mapping[str, Sequence[str]]) -> None:
    """Put touchpoints with the column `team` in the place of the table, for this cursor alone."""
    found = cursor.execute("SELECT DISTINCT agent FROM touchpoints WHERE agent IS NOT NULL").fetchall()
    rows = [{"agent": agent, "team": team_of(agent, teams)} for (agent,) in found]
    schema = pa.schema([("agent", pa.string()), ("team", pa.string())])
    cursor.register("found_teams", pa.Table.from_pylist(rows, schema))
    cursor.execute("CREATE TEMP TABLE agent_teams AS FROM found_teams")
    cursor.unregister("found_teams")
    database = value(cursor, "SELECT current_database()").replace('"', '""')
    cursor.execute(
        f"""CREATE TEMP VIEW touchpoints AS SELECT t.*, a.team
        FROM "{database}".main.touchpoints t LEFT JOIN agent_teams a ON a.agent = t.agent"""
    )
