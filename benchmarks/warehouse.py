"""The warehouse: rows taken in a second, size, memory, and the times of the queries that views are made of.

    python benchmarks/warehouse.py --events 20000000 --customers 1000000

Generates columns of cx.scored directly: events of 90 days in the order of time, some late, of places, topics, agents and so
on as a company with a shop, an app and a service centre has them. Query times are those of a process that only reads, with
the setting's two threads; every query runs several times, and the 95th percentile (of 20: the second worst) is printed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from cxstream.files.scored import SCHEMA
from cxstream.settings import Warehouse
from cxstream.warehouse.batch import Batch
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.store import Store, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS, PARTITIONS = 90, 4
FIRST_MS, DAY_MS = 1_764_547_200_000, 86_400_000
# Kind, channel, how often; touchpoints are numbered within them.
PLACES = [
    ("page_view", "web", 30, 12),
    ("page_view", "app", 25, 10),
    ("search", "web", 8, 2),
    ("click", "app", 8, 10),
    ("error", "web", 2, 6),
    ("purchase", "web", 4, 2),
    ("contact", "call", 3, 3),
    ("contact", "chat", 2, 2),
    ("contact", "email", 2, 1),
    ("mail_sent", "email", 8, 1),
    ("mail_open", "email", 4, 1),
    ("survey_nps", "email", 1, 1),
    ("survey_csat", "call", 1, 1),
    ("purchase", "store", 2, 4),
]
ROWS = [
    (
        kind,
        channel,
        f"{channel} {kind} {i}",
        ("awareness", "consideration", "purchase", "service")[i % 4],
        share / n,
    )
    for kind, channel, share, n in PLACES
    for i in range(n)
]


def _code(indices: np.ndarray, values: list[str], there: np.ndarray | None = None) -> pa.Array:
    mask = None if there is None else ~there
    return pa.DictionaryArray.from_arrays(
        pa.array(indices.astype(np.int32), mask=mask), pa.array(values, pa.string())
    )


def _text(prefix: str, numbers: np.ndarray, there: np.ndarray | None = None) -> pa.Array:
    made = pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")
    return made if there is None else pc.if_else(pa.array(there), made, pa.scalar(None, pa.string()))


def batches(events: int, customers: int, rows: int) -> Iterator[pa.Table]:
    """Tables of cx.scored."""
    rng = np.random.default_rng(7)
    weights = np.array([row[4] for row in ROWS])
    weights /= weights.sum()
    names = [sorted({row[i] for row in ROWS}) for i in range(4)]
    codes = [np.array([names[i].index(row[i]) for row in ROWS]) for i in range(4)]
    kinds = names[0]
    done, offsets = 0, np.zeros(PARTITIONS, np.int64)
    while done < events:
        n = min(rows, events - done)
        at = np.arange(done, done + n)
        place = rng.choice(len(ROWS), n, p=weights)
        kind, channel, touchpoint, stage = (code[place] for code in codes)
        customer = (customers * rng.random(n) ** 1.5).astype(np.int64)
        moment = FIRST_MS + (at * (DAYS * DAY_MS / events)).astype(np.int64)
        late = rng.random(n) < 0.02
        moment = np.maximum(FIRST_MS, moment - late * rng.integers(0, 5 * DAY_MS, n))
        partition = (customer % PARTITIONS).astype(np.int32)
        offset = np.empty(n, np.int64)
        for p in range(PARTITIONS):
            mine = partition == p
            offset[mine] = offsets[p] + np.arange(mine.sum())
            offsets[p] += mine.sum()
        is_kind = {name: kind == kinds.index(name) for name in kinds}
        contact, bought = is_kind["contact"], is_kind["purchase"]
        survey = is_kind["survey_nps"] | is_kind["survey_csat"]
        level = np.digitize(rng.beta(1, 8, n), [0.3, 0.5, 0.7])
        columns: dict[str, Any] = {
            "partition": partition,
            "offset": offset,
            "time": pa.array(moment).cast(pa.timestamp("ms", tz="UTC")),
            "arrived": pa.array(moment + 2000).cast(pa.timestamp("ms", tz="UTC")),
            "customer": _text("customer-", customer),
            "kind": _code(kind, names[0]),
            "source": _code(channel % 4, [f"/shop/{i}" for i in range(4)]),
            "id": _text("", rng.integers(10**15, 10**16, n)),
            "channel": _code(channel, names[1]),
            "touchpoint": _code(touchpoint, names[2]),
            "stage": _code(stage, names[3]),
            "session": _text("s", at // 6 * 7919 + customer % 100, (channel == names[1].index("web"))),
            "campaign": _code(
                rng.integers(0, 30, n), [f"campaign {i}" for i in range(30)], is_kind["mail_sent"]
            ),
            "topic": _code(rng.integers(0, 20, n), [f"topic {i}" for i in range(20)], contact),
            "agent": _code(rng.integers(0, 300, n), [f"agent {i}" for i in range(300)], contact),
            "product": _code(rng.integers(0, 500, n), [f"product {i}" for i in range(500)], bought | contact),
            "location": _code(
                rng.integers(0, 100, n), [f"shop {i}" for i in range(100)], channel == names[1].index("store")
            ),
            "segment": _code(customer % 5, ["a", "b", "c", "d", "e"]),
            "wait_s": pa.array(np.round(rng.gamma(2, 60, n), 1), mask=~contact),
            "handle_s": pa.array(np.round(rng.gamma(3, 90, n), 1), mask=~contact),
            "transfers": pa.array(rng.integers(0, 3, n).astype(float), mask=~contact),
            "score": pa.array(
                np.where(is_kind["survey_nps"], rng.integers(0, 11, n), rng.integers(1, 6, n)).astype(float),
                mask=~survey,
            ),
            "amount": pa.array(np.round(rng.gamma(2, 30, n), 2), mask=~bought),
            "currency": _code(np.zeros(n), ["EUR"], bought),
            "order_id": _text("o", at, bought),
            "resolved": pa.array(rng.random(n) < 0.8, mask=~contact),
            "abandoned": pa.array(rng.random(n) < 0.05, mask=~contact),
            "effort": (rng.integers(0, 9, n) / 4).astype(np.float32),
            "mood": (rng.integers(-8, 9, n) / 4).astype(np.float32),
            "flags": (rng.random(n) < 0.03).astype(np.uint8) | (late.astype(np.uint8) << 3),
            "effort_after": (rng.beta(2, 5, n) * 100).astype(np.float32),
            "satisfaction_after": (rng.beta(5, 2, n) * 100).astype(np.float32),
            "probability_after": rng.beta(1, 8, n).astype(np.float32),
            "level_after": _code(level, ["none", "elevated", "high", "critical"]),
            "behind_ms": np.where(late, DAY_MS, 0),
            "model": _code(np.zeros(n), ["default-1@2dcc0113"]),
            "amount_base": pa.array(np.round(rng.gamma(2, 30, n), 2), mask=~bought),
        }
        arrays = [
            pa.array(columns[field.name]).cast(field.type)
            if field.name in columns
            else pa.nulls(n, field.type)
            for field in SCHEMA
        ]
        yield pa.Table.from_arrays(arrays, schema=SCHEMA)
        done += n


def _queries(customers: int) -> dict[str, str]:
    """What views ask; {since} is the first day."""
    return {
        "totals by channel (daily)": "SELECT channel, sum(touchpoints), sum(effort_micro) FROM daily"
        " WHERE day >= {since} GROUP BY 1",
        "totals by touchpoint and day (daily)": "SELECT day, touchpoint, sum(touchpoints), sum(effort_micro), "
        "sum(unresolved), sum(rage_clicks) FROM daily WHERE day >= {since} GROUP BY 1, 2",
        "NPS by channel (daily_values)": "SELECT channel, bucket, sum(records) FROM daily_values "
        "WHERE day >= {since} AND measure = 'score' AND kind = 'survey_nps' GROUP BY 1, 2",
        "waits by touchpoint (daily_values)": "SELECT touchpoint, bucket, sum(records) FROM daily_values "
        "WHERE day >= {since} AND measure = 'wait' GROUP BY 1, 2",
        "totals by agent (daily_by)": "SELECT value, sum(touchpoints), sum(handle_ms) FROM daily_by "
        "WHERE day >= {since} AND dimension = 'agent' GROUP BY 1",
        "totals by touchpoint (touchpoints)": "SELECT touchpoint, count(*), sum(effort) FROM touchpoints "
        "WHERE day >= {since} GROUP BY 1",
        "customers (touchpoints)": "SELECT count(DISTINCT customer_id) FROM touchpoints WHERE day >= {since}",
        "customers by channel (touchpoints)": "SELECT channel, count(DISTINCT customer_id) FROM touchpoints "
        "WHERE day >= {since} GROUP BY 1",
        "customers by channel, as bits (touchpoints)": "SELECT channel, bit_count(bitstring_agg(customer_id, 0, "
        f"{customers})) FROM touchpoints WHERE day >= {{since}} GROUP BY 1",
        "customers by touchpoint, as bits (touchpoints)": "SELECT touchpoint, bit_count(bitstring_agg(customer_id, 0, "
        f"{customers})) FROM touchpoints WHERE day >= {{since}} GROUP BY 1",
        "one customer's history (touchpoints)": "SELECT * FROM touchpoints WHERE day >= {since} AND customer_id = 4711",
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int)
    parser.add_argument("--rows", type=int, default=Warehouse().flush_rows, help="touchpoints a transaction")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="keep the file here")
    taken = parser.parse_args()
    customers = taken.customers or max(1, taken.events // 20)
    settings = Warehouse()
    with tempfile.TemporaryDirectory() as folder:
        path = taken.keep or Path(folder) / "warehouse.duckdb"
        path.unlink(missing_ok=True)
        spent, cpu = 0.0, 0.0
        with Store(path, settings) as store:
            ingest = Ingest(store)
            for table in batches(taken.events, customers, taken.rows):
                before, used = time.perf_counter(), time.process_time()
                ingest.apply(Batch(scored=[table]))
                spent += time.perf_counter() - before
                cpu += time.process_time() - used
            before = time.perf_counter()
            store.checkpoint()
            spent += time.perf_counter() - before
            counts = {
                name: store.connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
                for name in (
                    "touchpoints",
                    "customers",
                    "daily",
                    "daily_values",
                    "daily_by",
                    "daily_values_by",
                )
            }
        print(
            f"taken in: {taken.events / spent:,.0f} events/s by the clock, {taken.events / cpu:,.0f} a CPU second"
        )
        print(
            f"size: {path.stat().st_size / 1e6:,.0f} MB, {path.stat().st_size / taken.events:.1f} bytes an event"
        )
        print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB at most")
        print("rows: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        with reading(path, settings) as connection:
            for name, query in _queries(customers).items():
                said = []
                for days in (7, DAYS):
                    since = f"DATE '2025-12-01' + {DAYS - days}"
                    times = []
                    for _ in range(taken.repeat):
                        before = time.perf_counter()
                        connection.execute(query.format(since=since)).fetchall()
                        times.append(time.perf_counter() - before)
                    said.append(f"{days} days {np.quantile(times, 0.95) * 1000:6.0f} ms")
                print(f"{name:48} {', '.join(said)}")


if __name__ == "__main__":
    main()
