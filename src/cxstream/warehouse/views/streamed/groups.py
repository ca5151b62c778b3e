"""Touchpoints in groups: of values of dimensions, of periods, and of the window or the period before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from cxstream.kernels.visits import sort_groups
from cxstream.warehouse.views.streamed.slices import tables

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.warehouse.views.selection import Selection
    from cxstream.warehouse.views.streamed.plan import Plan

# Dimensions of which `daily` has all values.
CODED = frozenset({"kind", "source", "channel", "touchpoint", "stage", "topic"})
_MOST_GROUPS = 1 << 20


class Groups(NamedTuple):
    """Rows by group.

    Attributes:
        order: int32[n], the rows.
        ends: int64[groups], where those of each group end in it.
        names: columns that name each group.
        columns: of the rows, by name.
    """

    order: NDArray[np.int32]
    ends: NDArray[np.int64]
    names: dict[str, pa.Array]
    columns: dict[str, NDArray[Any]]


def rows(selection: Selection, columns: str) -> str:
    """The SQL of the touchpoints, with placeholders and these columns."""
    codes = "".join(
        f', coalesce(list_position($values_of_{name}::VARCHAR[], "{name}"), 0)::INTEGER AS code_of_{name}'
        for name in selection.by
    )
    period = "epoch_us(period)" if selection.grain else "0::BIGINT"
    return (
        f"SELECT customer_id, time, 1::SMALLINT AS place, {columns}{codes}, {period} AS period_us, is_before "
        "FROM {selected and before}"
    )


def read(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> Groups | None:
    """The rows by group; None where there are too many groups."""
    values = {}
    for name in plan.by:
        found = cursor.execute(
            f'SELECT DISTINCT "{name}" FROM daily WHERE "{name}" IS NOT NULL ORDER BY 1'
        ).fetchall()
        values[name] = [value for (value,) in found]
    bound = {f"values_of_{name}": known for name, known in values.items()}
    asked = plan.asked._replace(values=plan.asked.values | bound)
    table = pa.concat_tables(list(tables(cursor, asked)))
    period = table.column("period_us").combine_chunks().dictionary_encode()
    periods = period.dictionary.to_numpy()
    shape = (len(periods), 2, *(len(known) + 1 for known in values.values()))
    if math.prod(shape) > _MOST_GROUPS:
        return None
    columns = {name: table.column(name).to_numpy() for name in table.column_names if name != "period_us"}
    groups = period.indices.to_numpy() * 2 + columns.pop("is_before")
    for name, known in values.items():
        groups = groups * np.int32(len(known) + 1) + columns.pop(f"code_of_{name}")
    ends, order = np.zeros(math.prod(shape), np.int64), np.empty(len(groups), np.int32)
    sort_groups(groups, ends, order)
    there = np.flatnonzero(np.diff(ends, prepend=0))
    at = np.unravel_index(there, shape) if len(there) else [there] * len(shape)
    names = {"is_before": pa.array(at[1] == 1)}
    if plan.has_periods:
        names["period"] = pa.array(periods[at[0]], pa.timestamp("us"))
    for (name, known), codes_there in zip(values.items(), at[2:], strict=True):
        names[name] = pa.array([known[code - 1] if code else None for code in codes_there], pa.string())
    return Groups(order, ends[there], names, columns)
