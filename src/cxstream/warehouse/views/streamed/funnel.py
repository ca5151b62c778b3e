"""What the view `funnel` shows: how many customers reach each step, and how long they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxstream.kernels.journeys import NEVER, follow_funnel
from cxstream.warehouse.views.streamed.slices import in_parts

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.views.streamed.plan import Plan
    from cxstream.warehouse.views.streamed.slices import Slice

ROWS = """SELECT customer_id, time, "partition", "offset", list_position($names::VARCHAR[], {step})::SMALLINT AS place
FROM {selected} WHERE {in_journey}"""
MOST_PLACES = 8
NAMES = ("counts",)


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table]:
    """The relation `NAMES`: the steps that somebody reaches."""
    shape = plan.blocks.room, len(plan.names)
    starts, took = np.full(shape, NEVER), np.full(shape, -1)

    def work(found: Slice, part: int) -> None:
        is_strict = plan.options["order"] == "strict"
        follow_funnel(found.order[found.of(part)], found.rows, plan.within, is_strict, starts, took)

    for _ in in_parts(cursor, plan.asked, plan.blocks, plan.threads, work):
        pass
    rows = []
    for number, name in enumerate(plan.names):
        reached = took[:, number]
        reached = reached[reached >= 0]
        if len(reached):
            many = len(reached)
            rows.append({"number": number + 1, "step": name, "journeys": many, "customers": many,
                         "median_s": float(np.median(reached)) / 1e6})  # fmt: skip
    counts = pa.int64()
    schema = pa.schema([("number", counts), ("step", pa.string()), ("journeys", counts), ("customers", counts),
                        ("median_s", pa.float64())])  # fmt: skip
    return {"counts": pa.Table.from_pylist(rows, schema)}
