"""What the view `journeys` shows: edges, who took them, and how long they took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxstream.kernels.journeys import EDGE, LAST, count_takers, end_edges, follow_edges, takers
from cxstream.kernels.visits import sort_groups
from cxstream.warehouse.views.streamed.ranks import leading
from cxstream.warehouse.views.streamed.slices import in_parts

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    Records = NDArray[np.void]

    from cxstream.warehouse.views.streamed.plan import Plan
    from cxstream.warehouse.views.streamed.slices import Slice

ROWS = """SELECT customer_id, time, "partition", "offset", list_position($names::VARCHAR[], {step})::SMALLINT AS place,
    effort, mood, effort_after, satisfaction_after
FROM {selected} WHERE {in_journey}"""
MOST_PLACES = 1_000
NAMES = ("frequent", "sets", "codes")


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table]:
    """The relations `NAMES`: edges, their sets, and the names of places."""
    size = len(plan.names) + 1
    parts = range(plan.threads)
    last = np.zeros(plan.blocks.room, LAST)
    counted_edges = [np.zeros(size * size, EDGE) for _ in parts]
    # Each part numbers its own journeys, so that some numbers are not used.
    owners, final = (np.zeros(plan.rows * len(parts), np.int32) for _ in range(2))
    edge, journey = (np.empty(plan.rows, np.int32) for _ in range(2))
    gap = np.empty(plan.rows, np.int64)
    begun = [0] * len(parts)

    def work(found: Slice, part: int) -> int:
        mine = found.of(part)
        out = slice(found.start + mine.start, found.start + mine.stop)
        begun[part] = follow_edges(
            found.order[mine], found.rows, found.values, plan.within, size, part, len(parts), last, counted_edges[part],
            owners, final, begun[part], edge[out], journey[out], gap[out],
        )  # fmt: skip
        return int(mine.stop - mine.start)

    done = sum(in_parts(cursor, plan.asked, plan.blocks, len(parts), work))
    edges = _added(counted_edges)
    end_edges(last, size, edges, final)
    chosen = leading(edges["count"], plan.limit)
    # Every customer has one first edge and one last edge.
    sets = chosen if plan.within >= 0 else chosen[(chosen >= size) & (chosen % size > 0)]
    counted = _counted(
        (edge[:done], journey[:done], gap[:done]), final[: max(begun) * len(parts)], sets, edges, owners, plan.blocks.room
    )  # fmt: skip
    alone = np.setdiff1d(chosen, sets)
    once = pa.array(edges["count"][alone])
    single = pa.table(
        {
            "edge": pa.array(alone),
            "customers": once,
            "journeys": once,
            "median_s": pa.nulls(len(alone), pa.float64()),
        }
    )
    return {
        "frequent": _frequent(chosen, size, edges),
        "sets": pa.concat_tables([counted, single]),
        "codes": pa.table(
            {"code": pa.array(range(1, size), pa.int64()), "step": pa.array(plan.names, pa.string())}
        ),
    }


def _added(counted: list[Records]) -> Records:
    """The edges of all parts."""
    edges = counted[0]
    for more in counted[1:]:
        for name in EDGE.names or ():
            edges[name] += more[name]
    return edges


def _counted(
    rows: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
    final: NDArray[np.int32],
    sets: NDArray[np.int64],
    edges: Records,
    owners: NDArray[np.int32],
    customers: int,
) -> pa.Table:
    """Journeys, customers and median times of some edges.

    Args:
        rows: edge, journey and gap in us of each row.
        final: the last place of each journey, 0 where there is no such journey.
        sets: numbers of the edges.
        edges: all of them.
        owners: the customer of each journey.
        customers: more than the largest number of a customer.
    """
    size = round(len(edges) ** 0.5)
    wanted = np.full(len(edges), -1, np.int32)
    wanted[sets] = np.arange(len(sets))
    many = int(edges["count"][sets[sets % size > 0]].sum())
    numbers, journeys, gaps = np.empty(many, np.int32), np.empty(many, np.int32), np.empty(many, np.int64)
    takers(*rows, wanted, numbers, journeys, gaps)
    # No edge has the number 0, which stands for a journey that there is not.
    of_ends = wanted[final * size]
    (ended,) = np.nonzero(of_ends >= 0)
    numbers = np.concatenate([numbers, of_ends[ended]])
    journeys = np.concatenate([journeys, (ended + 1).astype(np.int32)])
    order, ends = np.empty(len(numbers), np.int32), np.zeros(len(sets), np.int64)
    sort_groups(numbers, ends, order)
    counts = np.zeros((2, len(sets)), np.int64)
    stamps = np.zeros(len(owners), np.int32), np.zeros(customers, np.int32)
    count_takers(order, ends, journeys, owners, *stamps, counts)
    medians = [
        # An edge from the start or to the end has no gaps.
        None if number < size or number % size == 0 else float(np.median(gaps[order[begin:end]])) / 1e6
        for number, begin, end in zip(sets.tolist(), [0, *ends.tolist()][:-1], ends.tolist(), strict=True)
    ]
    return pa.table(
        {
            "edge": pa.array(sets),
            "customers": pa.array(counts[1]),
            "journeys": pa.array(counts[0]),
            "median_s": pa.array(medians, pa.float64()),
        }
    )


def _frequent(chosen: NDArray[np.int64], size: int, edges: Records) -> pa.Table:
    origin, target, these = chosen // size, chosen % size, edges[chosen]
    between, to = (origin > 0) & (target > 0), target > 0
    counts = these["count"]

    def mean(total: str, there: NDArray[np.bool_], scale: float = 1) -> pa.Array:
        return pa.array(these[total] / np.maximum(counts, 1) / scale, mask=~there)

    return pa.table(
        {
            "edge": pa.array(chosen),
            "from_code": pa.array(origin, mask=origin == 0),
            "to_code": pa.array(target, mask=target == 0),
            "count": pa.array(counts),
            "mean_s": mean("gap", between, 1e6),
            "effort": mean("effort", to),
            "mood": mean("mood", to),
            "effort_change": mean("effort_change", between),
            "satisfaction_change": mean("satisfaction_change", between),
        }
    )
