"""What the view `quality` shows of accepted touchpoints: counts, gaps and delays of sources."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxstream.kernels.deliveries import (
    BUCKETS,
    DELIVERED,
    NEVER,
    TIMES,
    UNKNOWN,
    count_deliveries,
    fill_buckets,
    find_gaps,
    find_times,
)
from cxstream.warehouse.views.streamed.slices import arrays, tables

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.warehouse.views.streamed.plan import Plan

    Columns = dict[str, NDArray[Any]]

ROWS = f"""SELECT customer_id, time, {{place}}::SMALLINT AS place, late::UTINYINT AS late,
    coalesce(epoch_us(arrived) - epoch_us(time), {UNKNOWN}) AS delay
FROM {{selected}}"""
MOST_PLACES = 32
NAMES = ("good", "longest", "delayed")
# Delays up to some minutes are counted one by one, ms.
_COUNTED = 1 << 18
_QUANTILES = {"delay_median_s": 0.5, "delay_p95_s": 0.95}


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table]:
    """The relations `NAMES`."""
    counted, times = _Counted(len(plan.names), plan.highest), np.zeros(len(plan.names), TIMES)
    with ThreadPoolExecutor(1) as pool:
        for table in tables(cursor, plan.asked, but=()):
            batches = arrays(table)
            done = pool.submit(counted.add, batches)
            _add_times(batches, times)
            done.result()
    delivered = counted.delivered
    (there,) = np.nonzero(delivered["touchpoints"])
    names = {"source": pa.array([plan.names[source] for source in there], pa.string())}
    quantiles = [counted.quantiles(source) for source in there.tolist()]
    return {
        "good": pa.table(
            names
            | {name: pa.array(delivered[name][there]) for name in ("touchpoints", "customers", "late")}
            | {
                f"{name}_time": pa.array(times[name][there]).cast(pa.timestamp("us"))
                for name in ("first", "last")
            }
        ),
        "longest": pa.table(names | {"longest_gap_s": _gaps(times[there])}),
        "delayed": pa.table(
            names | {name: pa.array([each[name] for each in quantiles], pa.float64()) for name in _QUANTILES}
        ),
    }


class _Counted:
    """Touchpoints, customers and delays of sources.

    Args:
        sources: how many.
        highest: the largest number of a customer.
    """

    def __init__(self, sources: int, highest: int) -> None:
        self.delivered = np.zeros(sources, DELIVERED)
        self._seen = np.zeros((sources, highest + 1), bool)
        self._counts = np.zeros((sources, _COUNTED), np.int64)
        self._others: list[tuple[NDArray[np.int64], NDArray[np.int16]]] = [
            (np.empty(0, np.int64), np.empty(0, np.int16))
        ]

    def add(self, batches: list[Columns]) -> None:
        for batch in batches:
            rows = len(batch["place"])
            delays, of = np.empty(rows, np.int64), np.empty(rows, np.int16)
            found = count_deliveries(
                batch["customer_id"], batch["place"], batch["late"], batch["delay"],
                self.delivered, self._seen, self._counts, delays, of,
            )  # fmt: skip
            self._others.append((delays[:found].copy(), of[:found].copy()))

    def quantiles(self, source: int) -> dict[str, float | None]:
        """Quantiles of delays in seconds."""
        others = [delays[of == source] for delays, of in self._others]
        return _quantiles(self._counts[source], np.concatenate(others))


def _add_times(batches: list[Columns], times: NDArray[Any]) -> None:
    """Add the times of a slice, which is later than those before."""
    found = np.zeros(len(times), TIMES)
    found["first"], found["last"] = NEVER, -NEVER
    for batch in batches:
        find_times(batch["time"], batch["place"], found)
    buckets, start = np.zeros(len(times), BUCKETS), 0
    for source, one in enumerate(found):
        if one["count"]:
            span = int(one["last"] - one["first"])
            shift = max(0, (span // max(1, int(one["count"]) - 1)).bit_length() - 1)
            buckets[source] = start, (span >> shift) + 1, shift
            start += (span >> shift) + 1
    earliest, latest = np.full(start, NEVER), np.empty(start, np.int64)
    for batch in batches:
        fill_buckets(batch["time"], batch["place"], found, buckets, earliest, latest)
    find_gaps(found, buckets, earliest, latest, times)


def _gaps(times: NDArray[Any]) -> pa.Array:
    """Seconds; empty with one touchpoint."""
    return pa.array(times["gap"] / 1e6, mask=times["count"] < 2)  # noqa: PLR2004


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
