"""What the view `people` of the console shows: how customers were when they came last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxstream.kernels.visits import LAST, PEOPLE, sum_people
from cxstream.warehouse.views.streamed import groups

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.views.selection import Selection
    from cxstream.warehouse.views.streamed.plan import Plan

MOST_PLACES = 1
NAMES = ("means",)


def touchpoints(selection: Selection) -> str:
    """The SQL of the touchpoints, with placeholders."""
    return groups.rows(
        selection, 'epoch_us(time) AS us, "partition", "offset", effort_after, satisfaction_after'
    )


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table] | None:
    """The relation `NAMES`; None where there are too many groups."""
    found = groups.read(cursor, plan)
    if found is None:
        return None
    columns = found.columns
    states, touched = np.zeros(plan.highest + 1, LAST), np.empty(plan.highest + 1, np.int32)
    sums = np.zeros(len(found.ends), PEOPLE)
    sum_people(
        found.order, found.ends, columns["customer_id"], columns["us"], columns["partition"], columns["offset"], columns["effort_after"], columns["satisfaction_after"],
        states, touched, sums,
    )  # fmt: skip
    count = np.maximum(sums["customers"], 2)
    is_one = sums["customers"] < 2  # noqa: PLR2004 - one customer has no spread

    def variance(name: str) -> pa.Array:
        return pa.array(sums[f"{name}_squares"] / (count - 1) / count, mask=is_one)

    return {
        "means": pa.table(
            {
                **found.names,
                "customers": sums["customers"],
                **{name: np.ascontiguousarray(sums[name]) for name in ("effort", "satisfaction")},
                **{f"{name}_variance": variance(name) for name in ("effort", "satisfaction")},
            }
        )
    }
