"""What the views `moments` and `outcomes` show: how many journeys have each step, by how they end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxstream.kernels.outcomes import BITS, UNDER_WAY, count_bits, end_outcomes, follow_outcomes
from cxstream.warehouse.views.streamed.slices import in_parts

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.views.streamed.plan import Plan
    from cxstream.warehouse.views.streamed.slices import Slice

MOST_PLACES = 4 * BITS
NAMES = ("counts",)
# Ends in the order of their codes, and the kinds that make them.
_ENDS = ("silence", "complaint", "purchase", "churn")
_KINDS = "['complaint_opened', 'purchase', 'churned']"
# Touchpoints that are no steps also end a journey.
_ROWS = f"""SELECT customer_id, time, "partition", "offset",
    coalesce(list_position({_KINDS}, kind), 0)::TINYINT AS kind,
    1 + CASE WHEN {{no_step}} THEN 0 ELSE coalesce(list_position($names::VARCHAR[], {{step}}), 0) END::SMALLINT AS place
FROM {{selected}}"""


def touchpoints(options: dict[str, str]) -> str:
    """The SQL of the touchpoints, with placeholders: which are no steps depends on the options."""
    if "outcome" not in options:
        return _ROWS.replace("{no_step}", f"list_contains({_KINDS}, kind)")
    return _ROWS.replace("{no_step}", f"list_position({_KINDS}, kind) = {_ENDS.index(options['outcome'])}")


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table]:
    """The relation `NAMES`."""
    cuts, groups = _rules(plan.options)
    places, parts = len(plan.names), range(plan.threads)
    journeys = np.zeros(plan.blocks.room, UNDER_WAY)
    shape = plan.blocks.room, (places - 1) // BITS + 1
    seen, at_end, at_complaint = (np.zeros(shape, np.uint64) for _ in range(3))
    ever = np.zeros(shape if plan.within >= 0 else (0, 1), np.uint64)
    counts = [np.zeros((2, shape[1] * BITS + 1), np.int64) for _ in parts]

    def work(found: Slice, part: int) -> None:
        follow_outcomes(
            found.order[found.of(part)], found.rows, plan.within, cuts, groups, journeys, seen, at_end, at_complaint, ever, counts[part],
        )  # fmt: skip

    def end(part: int) -> None:
        end_outcomes(part, len(parts), cuts, groups, journeys, seen, at_end, at_complaint, ever, counts[part])

    for _ in in_parts(cursor, plan.asked, plan.blocks, len(parts), work):
        pass
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(end, parts))
    total = sum(counts[1:], counts[0])[:, : places + 1]
    customers = total.sum(axis=0)
    if plan.within >= 0:
        customers = np.zeros(shape[1] * BITS + 1, np.int64)
        count_bits(ever, customers)
    return {"counts": _table(plan, total, customers)}


def _rules(options: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Which ends cut their journeys, and in which group the journeys of each end are."""
    if "outcome" in options:
        wanted = np.array([end == options["outcome"] for end in _ENDS])
        return wanted, wanted.astype(np.int8)
    first, second = options["first"], options["second"]
    groups = [0 if end == first else 1 if end == second else -1 for end in _ENDS]
    return np.array([False, True, True, True]), np.array(groups, np.int8)


def _table(plan: Plan, total: np.ndarray, customers: np.ndarray) -> pa.Table:
    (there,) = np.nonzero(total.sum(axis=0))
    # All journeys have the number 0.
    names = pa.array([None if place == 0 else plan.names[place - 1] for place in there], pa.string())
    both, ones = pa.array(total.sum(axis=0)[there]), pa.array(customers[there])
    zeroth, first = (pa.array(total[group][there]) for group in range(2))
    if "outcome" in plan.options:
        return pa.table({"step": names, "journeys": both, "customers": ones, "hits": first})
    return pa.table(
        {"element": names, "journeys": both, "customers": ones, "first_with": zeroth, "second_with": first}
    )
