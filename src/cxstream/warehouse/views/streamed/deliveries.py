"""What the view `quality` shows of accepted touchpoints: counts, gaps and delays of sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxstream.kernels.deliveries import DELIVERED, UNKNOWN, count_deliveries
from cxstream.warehouse.views.streamed.slices import slices

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.warehouse.views.streamed.plan import Plan

# Touchpoints of one time may be in any order.
ROWS = f"""SELECT customer_id, time, epoch_us(time) AS us, 0::INTEGER AS "partition", 0::BIGINT AS "offset", {{place}}::SMALLINT AS place, late,
    coalesce(epoch_us(arrived) - epoch_us(time), {UNKNOWN}) AS delay
FROM {{selected}}"""
MOST_PLACES = 32
NAMES = ("good", "longest", "delayed")
# Delays up to some minutes are counted one by one, ms.
_COUNTED = 1 << 18
_QUANTILES = {"delay_median_s": 0.5, "delay_p95_s": 0.95}


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table]:
    """The relations `NAMES`."""
    sources = len(plan.names)
    delivered = np.zeros(sources, DELIVERED)
    seen, counts = np.zeros((sources, plan.highest + 1), bool), np.zeros((sources, _COUNTED), np.int64)
    others: list[tuple[NDArray[np.int64], NDArray[np.int16]]] = []
    for _, order, _, columns in slices(cursor, plan.asked):
        delays, of = np.empty(len(order), np.int64), np.empty(len(order), np.int16)
        found = count_deliveries(
            order, columns["customer_id"], columns["us"], columns["place"], columns["late"], columns["delay"],
            delivered, seen, counts, delays, of,
        )  # fmt: skip
        others.append((delays[:found].copy(), of[:found].copy()))
    delays = np.concatenate([one for one, _ in others])
    of = np.concatenate([one for _, one in others])
    (there,) = np.nonzero(delivered["touchpoints"])
    names = {"source": pa.array([plan.names[source] for source in there], pa.string())}
    quantiles = [_quantiles(counts[source], delays[of == source]) for source in there]
    return {
        "good": pa.table(
            names
            | {name: pa.array(delivered[name][there]) for name in ("touchpoints", "customers", "late")}
            | {
                f"{name}_time": pa.array(delivered[name][there]).cast(pa.timestamp("us"))
                for name in ("first", "last")
            }
        ),
        "longest": pa.table(names | {"longest_gap_s": _gaps(delivered[there])}),
        "delayed": pa.table(
            names | {name: pa.array([each[name] for each in quantiles], pa.float64()) for name in _QUANTILES}
        ),
    }


def _gaps(delivered: NDArray[Any]) -> pa.Array:
    """Seconds; empty with one touchpoint."""
    return pa.array(delivered["gap"] / 1e6, mask=delivered["touchpoints"] < 2)  # noqa: PLR2004


def _quantiles(counts: NDArray[np.int64], others: NDArray[np.int64]) -> dict[str, float | None]:
    """Quantiles in seconds, between two values as quantile_cont of SQL has them."""
    others = np.sort(others)
    below = int(np.searchsorted(others, 0))
    through = np.cumsum(counts)
    total = int(through[-1]) + len(others)

    def at(rank: int) -> float:
        if rank < below:
            return float(others[rank])
        if rank - below < through[-1]:
            return float(np.searchsorted(through, rank - below, side="right"))
        return float(others[rank - int(through[-1])])

    def quantile(share: float) -> float | None:
        if not total:
            return None
        place = (total - 1) * share
        low, high = at(math.floor(place)) / 1000, at(math.ceil(place)) / 1000
        return low + (high - low) * (place - math.floor(place))

    return {name: quantile(share) for name, share in _QUANTILES.items()}
