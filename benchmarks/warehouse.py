"""The warehouse: rows taken in a second, size, memory, and the time of every view over 7 and 90 days.

    python benchmarks/warehouse.py --events 20000000 --customers 1000000 --folder /var/tmp/warehouse

Generates columns of cx.scored directly: events of 90 days in the order of time, some late, of places, topics, agents and so
on as a company with a shop, an app and a service centre has them, and a churn-risk signal for each 200 of them. The file
stays in --folder, and is read again by a later run for as many events and customers. Times of views are those of a process
that only reads, with the setting's two threads: each view runs several times, and is printed with the median and the 95th
percentile of a run by the clock and of its processor time, its rows, and the most memory that the process had meanwhile. On
a machine with other work, half the processor time is what two free processors would at least take.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from cxstream.files.scored_columns import SCHEMA
from cxstream.settings import Warehouse
from cxstream.warehouse import aggregates
from cxstream.warehouse.batch import Batch
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.query import value
from cxstream.warehouse.store import Store, reading
from cxstream.warehouse.views.definition import names, view
from cxstream.warehouse.views.query import Query, result, run
from cxstream.warehouse.views.selection import Filter, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.warehouse.views.definition import View

DAYS, PARTITIONS = 90, 4
FIRST_MS, DAY_MS = 1_764_547_200_000, 86_400_000
START = datetime(2025, 12, 1)  # noqa: DTZ001 - the warehouse has UTC without a zone
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
    ("return", "store", 0.5, 1),
    ("review", "web", 0.5, 1),
    ("survey_ces", "chat", 0.5, 1),
    ("complaint_opened", "call", 0.5, 1),
    ("complaint_resolved", "email", 0.4, 1),
    ("churned", "call", 0.1, 1),
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
        behind = late * rng.integers(0, 5 * DAY_MS, n)
        moment = np.maximum(FIRST_MS, moment - behind)
        delay = behind + rng.gamma(2, 800, n).astype(np.int64)
        partition = (customer % PARTITIONS).astype(np.int32)
        offset = np.empty(n, np.int64)
        for p in range(PARTITIONS):
            mine = partition == p
            offset[mine] = offsets[p] + np.arange(mine.sum())
            offsets[p] += mine.sum()
        is_kind = {name: kind == kinds.index(name) for name in kinds}
        contact, bought = is_kind["contact"], is_kind["purchase"] | is_kind["return"]
        survey = is_kind["survey_nps"] | is_kind["survey_csat"] | is_kind["survey_ces"]
        complaint = is_kind["complaint_opened"] | is_kind["complaint_resolved"]
        level = np.digitize(rng.beta(1, 8, n), [0.3, 0.5, 0.7])
        columns: dict[str, Any] = {
            "partition": partition,
            "offset": offset,
            "time": pa.array(moment).cast(pa.timestamp("ms", tz="UTC")),
            "arrived": pa.array(moment + delay).cast(pa.timestamp("ms", tz="UTC")),
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
            "case_id": _text("case-", customer, complaint),
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
            "rating": pa.array(rng.integers(2, 11, n) / 2, mask=~is_kind["review"]),
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
            "behind_ms": behind,
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


def signals(table: pa.Table) -> list[dict[str, Any]]:
    """A churn-risk signal for each 200th touchpoint."""
    levels = ("none", "elevated", "high", "critical")
    chosen = table.select(["customer", "partition", "offset", "time"]).take(np.arange(0, table.num_rows, 200))
    return [
        row
        | {
            "time": row["time"].isoformat(),
            "n": 0,
            "id": f"{row['partition']}-{row['offset']}",
            "change": "raised" if row["offset"] % 3 else "cleared",
            "level": levels[1 + row["offset"] % 3],
            "previous": "none",
            **dict.fromkeys(
                ("probability", "effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth"), 0.5
            ),
            "reasons": "[]",
            "leading_reason": ("effort", "silence", "surge")[row["offset"] % 3],
            "suggested_action": None,
            "model": "default-1@2dcc0113",
        }
        for row in chosen.to_pylist()
    ]


TABLES = ("touchpoints", "customers", "risk_signals", *aggregates.TABLES)
# The columns of the figures of a view.
HEAD = f"{'view':50} {'days':>4} {'p50 ms':>7} {'p95 ms':>7} {'CPU p50':>7} {'CPU p95':>7} {'rows':>6} {'MiB':>6}"


def build(path: Path, settings: Warehouse, events: int, customers: int, rows: int) -> None:
    """Make the file, and print what that took."""
    draft = path.with_name(f"{path.name}.partial")
    draft.unlink(missing_ok=True)
    spent, cpu = 0.0, 0.0
    with Store(draft, settings) as store:
        ingest = Ingest(store)
        for table in batches(events, customers, rows):
            batch = Batch(scored=[table], signals=signals(table))
            before, used = time.perf_counter(), time.process_time()
            ingest.apply(batch)
            spent += time.perf_counter() - before
            cpu += time.process_time() - used
        before, used = time.perf_counter(), time.process_time()
        store.checkpoint()
        spent += time.perf_counter() - before
        cpu += time.process_time() - used
        counts = {name: value(store.connection, f"SELECT count(*) FROM {name}") for name in TABLES}
    draft.replace(path)
    print(f"taken in: {events / spent:,.0f} events/s by the clock, {events / cpu:,.0f} a CPU second")
    print(f"size: {path.stat().st_size / 1e6:,.0f} MB, {path.stat().st_size / events:.1f} bytes an event")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB at most")
    print("rows: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def uses(view: View) -> Iterator[tuple[str, dict[str, Any]]]:
    """Common uses of a view: what to call them, and their selections."""
    yield "", {}
    for dimension in ("touchpoint", "channel", "source"):
        if dimension in view.dimensions and (dimension != "source" or len(view.dimensions) == 1):
            yield f" by {dimension}", {"by": (dimension,)}
    if "channel" in view.dimensions:
        yield " where channel=call", {"where": (Filter("channel", ("call",)),)}
    for option in ("place", "per"):
        for choice in view.options[option].choices[1:] if option in view.options else ():
            yield f" {option}={choice}", {"options": {option: choice}}


def measure(connection: duckdb.DuckDBPyConnection, query: Query, repeat: int) -> str:
    """The figures of a query, as HEAD has them, from p50 on."""
    # Forget the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    times, rows = [], 0
    for _ in range(repeat):
        before, used = time.perf_counter(), time.process_time()
        rows = len(run(connection, query).fetchall())
        times.append((time.perf_counter() - before, time.process_time() - used))
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
    (middle, cpu_middle), (worst, cpu_worst) = np.quantile(times, [0.5, 0.95], axis=0) * 1000
    return f"{middle:7,.0f} {worst:7,.0f} {cpu_middle:7,.0f} {cpu_worst:7,.0f} {rows:6,} {peak:6,}"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int)
    parser.add_argument("--rows", type=int, default=Warehouse().flush_rows, help="touchpoints a transaction")
    parser.add_argument("--repeat", type=int, default=20, help="runs of each view")
    parser.add_argument("--folder", type=Path, help="keep the file here, and read it if it is there already")
    parser.add_argument("--view", action="append", help="only this view (may be repeated)")
    parser.add_argument("--days", type=int, action="append", help="windows (may be repeated); 7 and 90")
    parser.add_argument("--plain", action="store_true", help="each view without groups, filters and options")
    taken = parser.parse_args()
    customers = taken.customers or max(1, taken.events // 20)
    settings = Warehouse()
    with tempfile.TemporaryDirectory() as folder:
        path = (taken.folder or Path(folder)) / f"warehouse-{taken.events}-{customers}.duckdb"
        if not path.exists():
            build(path, settings, taken.events, customers, taken.rows)
        print(HEAD)
        with reading(path, settings) as connection:
            for name in taken.view or names():
                found = view(name)
                for use, chosen in uses(found):
                    for days in taken.days or (7, DAYS):
                        since = START + timedelta(days=DAYS - days)
                        selection = Selection(since=since, until=START + timedelta(days=DAYS), **chosen)
                        try:
                            figures = measure(connection, result(found, selection, limit=50), taken.repeat)
                        except duckdb.OutOfMemoryException:
                            figures = "more memory needed than warehouse.memory_mib"
                        print(f"{name + use:50} {days:4} {figures}", flush=True)
                    if taken.plain:
                        break


if __name__ == "__main__":
    main()
