"""What the view `paths` shows: the paths that most journeys take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxstream.kernels.paths import CHURN, JOURNEY, end_paths, follow_paths, group_paths
from cxstream.warehouse.views.streamed.ranks import leading
from cxstream.warehouse.views.streamed.slices import in_parts

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.warehouse.views.streamed.plan import Plan
    from cxstream.warehouse.views.streamed.slices import Slice

ROWS = """SELECT customer_id, time, "partition", "offset", list_position($names::VARCHAR[], {step})::SMALLINT AS place, effort,
    coalesce(list_position(['complaint_opened', 'purchase', 'churned'], kind), 0)::TINYINT AS kind
FROM {selected} WHERE {in_journey}"""
MOST_PLACES = 30_000
NAMES = ("frequent", "named")
_ENDS = ("silence", "complaint", "purchase", "churn")


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table]:
    """The relations `NAMES`: paths, and the names of places."""
    under_way = np.zeros(plan.blocks.room, JOURNEY)

    def work(found: Slice, part: int) -> NDArray[np.void]:
        order = found.order[found.of(part)]
        done = np.empty(len(order) if plan.within >= 0 else 0, JOURNEY)
        ended = follow_paths(order, found.rows, found.values, plan.within, under_way, done)
        return done[:ended].copy()

    finished = list(in_parts(cursor, plan.asked, plan.blocks, plan.threads, work))
    last = np.empty(plan.blocks.room, JOURNEY)
    last = last[: end_paths(under_way, last)]
    journeys = np.concatenate([*finished, last]) if plan.within >= 0 else last
    groups, counts = np.empty(len(journeys), np.int32), np.zeros(len(journeys), np.int32)
    group_paths(journeys, np.zeros(1 << (len(journeys).bit_length() + 1), np.int32), groups, counts)
    chosen = leading(counts, plan.limit, journeys["steps"])
    names = pa.table({"names": pa.array([plan.names], pa.list_(pa.string()))})
    return {"frequent": _frequent(cursor, plan, journeys, groups, chosen), "named": names}


def _frequent(
    cursor: duckdb.DuckDBPyConnection,
    plan: Plan,
    journeys: NDArray[np.void],
    groups: NDArray[np.int32],
    chosen: NDArray[np.int64],
) -> pa.Table:
    is_chosen = np.zeros(len(journeys), bool)
    is_chosen[chosen] = True
    (of_chosen,) = np.nonzero(is_chosen[groups]) if len(journeys) else (chosen,)
    these = journeys[of_chosen]
    columns = {name: pa.array(np.ascontiguousarray(these[name])) for name in ("customer", "effort", "ending")}
    taken = {
        "path": pa.array(groups[of_chosen]),
        "length_s": pa.array((these["last"] - these["first"]) / 1e6),
        **columns,
    }
    examples = {name: pa.array(np.ascontiguousarray(journeys[name][chosen])) for name in ("skip", "steps")}
    examples["customer"] = pa.array(plan.blocks.customers(journeys["customer"][chosen]))
    cursor.register("paths_taken", pa.table(taken))
    cursor.register("paths_examples", pa.table({"path": pa.array(chosen.astype(np.int32)), **examples}))
    ends = ", ".join(f"count(*) FILTER (ending = {code}) AS end_{name}" for code, name in enumerate(_ENDS))
    sql = f"""WITH counts AS (
        SELECT path, count(*) AS journeys, count(DISTINCT customer) AS customers, median(length_s) AS median_s,
            avg(length_s) AS mean_s, avg(effort) AS effort, {ends}
        FROM paths_taken GROUP BY path
    ),
    sequences AS (
        SELECT customer_id, list(place ORDER BY time, "partition", "offset") AS places
        FROM ({plan.asked.sql}) WHERE place > 0 AND kind <> {CHURN} AND customer_id IN (SELECT customer FROM paths_examples)
        GROUP BY customer_id
    )
    SELECT places[skip + 1 : skip + steps] AS taken, counts.* EXCLUDE (path), steps, journeys / {max(len(journeys), 1)} AS share
    FROM counts JOIN paths_examples USING (path) JOIN sequences ON customer_id = customer"""
    found = cursor.sql(sql, params=plan.asked.values).to_arrow_table()
    for name in ("paths_taken", "paths_examples"):
        cursor.unregister(name)
    return found
