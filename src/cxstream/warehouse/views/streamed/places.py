"""What the view `places` of the console shows: sums of visits with a customer as the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cxstream.kernels.visits import PLACE, STATE, sum_places
from cxstream.warehouse.views.streamed import groups

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.views.selection import Selection
    from cxstream.warehouse.views.streamed.plan import Plan

MOST_PLACES = 1
NAMES = ("sums",)
# What is counted, by the conditions of the view's measures.
_FLAGS = {
    "failed_steps": "{failed_steps}",
    "repeat_contacts": "{repeat_contacts}",
    "channel_switches": "{channel_switches}",
    "rage_clicks": "{rage_clicks}",
    "waited": "(wait_s IS NOT NULL)",
    "long_waits": "{long_waits}",
    "unresolved": "{unresolved}",
    "abandoned": "{abandoned}",
}
_BITS = " | ".join(
    f"(coalesce({condition}, false)::UTINYINT << {bit})" for bit, condition in enumerate(_FLAGS.values())
)
# Columns of the view that need nothing else.
_EFFORT = frozenset({"touchpoints", "customers", "effort", "effort_margin"})
_SUMS = ("effort_squares", "effort_products", "mood_squares", "mood_products", "n_squares")


def touchpoints(selection: Selection) -> str:
    """The SQL of the touchpoints, with placeholders; without what nobody asks for, which takes half of the time."""
    if selection.columns and set(selection.columns) <= _EFFORT:
        return groups.rows(
            selection, "effort, 0::FLOAT AS mood, 0::FLOAT AS satisfaction_after, 0::UTINYINT AS flags"
        )
    return groups.rows(selection, f"effort, mood, satisfaction_after, ({_BITS})::UTINYINT AS flags")


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table] | None:
    """The relation `NAMES`; None where there are too many groups."""
    found = groups.read(cursor, plan)
    if found is None:
        return None
    columns = found.columns
    states, touched = np.zeros(plan.highest + 1, STATE), np.empty(plan.highest + 1, np.int32)
    sums = np.zeros(len(found.ends), PLACE)
    sum_places(
        found.order, found.ends, columns["customer_id"], columns["effort"], columns["mood"], columns["satisfaction_after"],
        columns["flags"], states, touched, sums,
    )  # fmt: skip
    return {
        "sums": pa.table(
            {
                **found.names,
                "customers": sums["customers"],
                "n": sums["n"].astype(np.float64),
                "effort": sums["effort"] / sums["n"],
                "mood": sums["mood"] / sums["n"],
                "satisfaction_after": sums["satisfaction"] / sums["n"],
                **{name: np.ascontiguousarray(sums[name]) for name in _SUMS},
                **{name: np.ascontiguousarray(sums["flags"][:, bit]) for bit, name in enumerate(_FLAGS)},
            }
        )
    }
