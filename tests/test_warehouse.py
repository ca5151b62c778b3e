"""The warehouse: what it takes in, what it forgets, and that its content is a function of the logs."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.cli import group
from cxstream.cli.differences import lines
from cxstream.local.ports import HOST, free
from cxstream.model.errors import BrokerError, WarehouseError
from cxstream.scoring.codec.changes import decode_changes, markers
from cxstream.settings import Warehouse
from cxstream.warehouse import aggregates
from cxstream.warehouse import store as store_module
from cxstream.warehouse.batch import Batch, Refusal
from cxstream.warehouse.export import export
from cxstream.warehouse.ingest import Ingest, in_order
from cxstream.warehouse.query import value
from cxstream.warehouse.retention import retain
from cxstream.warehouse.store import Store, copy_of, migrations, reading
from cxstream.warehouse.verify import check_aggregates, compare
from cxstream.wire.examples import example_change
from first_line import next_line
from warehouse_rows import DAY_MS, START, card, friction, receipt, row, signal, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SMALL = Warehouse(memory_mib=512, threads=1)


def batch(
    rows: Iterable[dict[str, Any]] = (),
    receipts: Iterable[bytes] = (),
    cards: Iterable[bytes] = (),
    signals: Iterable[bytes] = (),
) -> Batch:
    found = Batch()
    rows = list(rows)
    if rows:
        found.scored.append(table(rows))
    for each in receipts:
        found.add_receipt(each)
    for record, each in enumerate(cards):
        found.add_card(record, each)
    found.add_signals(signals)
    return found


def built(path: Path, *batches: Batch) -> Path:
    with Store(path, SMALL) as store:
        ingest = Ingest(store)
        for each in batches:
            ingest.apply(each)
    return path


def select(path: Path, query: str) -> list[tuple[Any, ...]]:
    with reading(path, SMALL) as connection:
        return connection.execute(query).fetchall()


def test_a_touchpoint_is_there_with_every_column(tmp_path: Path) -> None:
    more = {
        "hashtags": ["a", "b"],
        "wait_s": 12.5,
        "resolved": False,
        "flags": 9,
        "arrived": START,
        "agent": "A",
    }
    path = built(tmp_path / "w", batch([row(3, "anna", **more)]))
    names = 'day, partition, "offset", time, arrived, hashtags, wait_s, resolved, repeat_contact, rage_click, late, agent, model'
    found = select(path, f"SELECT {names} FROM touchpoints")
    start = datetime.fromisoformat("2026-01-01")
    at = datetime.fromisoformat("2026-01-01T00:00:03")
    assert found == [
        (
            date(2026, 1, 1),
            0,
            3,
            at,
            start,
            ["a", "b"],
            12.5,
            False,
            True,
            False,
            True,
            "A",
            "default-1@00000000",
        )
    ]


def test_files_are_private_also_while_they_are_written(tmp_path: Path) -> None:
    with Store(tmp_path / "w", SMALL) as store:
        Ingest(store).apply(batch([row(1, "anna")]))
        store.publish()
        made = [path for path in tmp_path.iterdir() if path.is_file()]
        assert {path.name for path in made} == {"w", "w.wal", "w.copy"} or {path.name for path in made} == {
            "w",
            "w.copy",
        }
        assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w", "w.copy"]


def test_an_empty_text_is_no_value(tmp_path: Path) -> None:
    empty = dict.fromkeys(("touchpoint", "topic", "session", "case_id", "segment"), "")
    rows = [row(0, "a", **empty), row(1, "b", touchpoint="checkout"), row(2, "c")]
    path = built(tmp_path / "w.duckdb", Batch(scored=[table(rows)]))
    assert select(path, 'SELECT touchpoint, topic, session, case_id, segment FROM touchpoints ORDER BY 1, "offset"') == [
        ("checkout", None, None, None, None), (None,) * 5, (None,) * 5,
    ]  # fmt: skip
    assert select(path, "SELECT touchpoint, sum(touchpoints) FROM daily GROUP BY 1 ORDER BY 1") == [
        ("checkout", 1),
        (None, 2),
    ]
    assert select(path, "SELECT count(*) FROM daily_by WHERE value = ''") == [(0,)]


def test_cards_and_signals_have_their_views(tmp_path: Path) -> None:
    path = built(
        tmp_path / "w",
        batch(cards=[card("anna", 0, 5)], signals=[signal("anna", 0, 5, 1), friction("bert", 1, 7)]),
    )
    assert select(path, 'SELECT customer, partition, "offset", last_purchase, features FROM cards') == [
        ("anna", 0, 5, date(2025, 12, 31), '{"effort":1.0}')
    ]
    assert select(path, 'SELECT customer, "offset", n, change, leading_reason FROM signals') == [
        ("anna", 5, 1, "raised", "effort")
    ]
    assert select(path, "SELECT customer, partition, effort_points, touchpoint FROM friction") == [
        ("bert", 1, 9.5, "checkout")
    ]


def test_an_older_file_gains_what_customers_are_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w"
    now = built(tmp_path / "now", batch(cards=[card("old", 0, 1)], signals=[signal("old", 0, 1)]))
    steps = migrations()
    with monkeypatch.context() as before:
        before.setattr(store_module, "migrations", lambda: steps[:2])
        with Store(path, SMALL) as store:
            run = store.connection.execute
            run(f"ATTACH '{now}' AS now (READ_ONLY)")
            run("INSERT INTO customers SELECT * FROM now.customers")
            run(
                "INSERT INTO score_cards BY NAME SELECT * EXCLUDE (p_alive, clv, value_at_risk) FROM now.score_cards"
            )
            run(
                "INSERT INTO risk_signals BY NAME SELECT * EXCLUDE (value_at_risk, experiment, arm, p_alive, clv) FROM now.risk_signals"
            )
            run("DETACH now")
    with pytest.raises(WarehouseError, match="has schema 2, and this version"):
        select(path, "SELECT 1")
    worth = {"p_alive": 0.25, "clv": 80.5, "value_at_risk": 40.25}
    cards_, signals = (
        [card("anna", 0, 5, **worth), card("bert", 0, 6)],
        [signal("anna", 0, 5, value_at_risk=8.5, experiment="calls", arm="holdout", p_alive=0.25, clv=80.5)],
    )
    built(path, batch(cards=cards_, signals=signals))
    cards = [("anna", 0.25, 80.5, 40.25), ("bert", None, None, None), ("old", None, None, None)]
    told = [("anna", 8.5), ("old", None)]
    with Store(path, SMALL) as store:
        store.compact()
    assert select(path, "SELECT customer, p_alive, clv, value_at_risk FROM cards ORDER BY 1") == cards
    assert select(path, "SELECT customer, value_at_risk FROM signals ORDER BY 1") == told
    more = [("anna", "calls", "holdout", 0.25, 80.5), ("old", None, None, None, None)]
    assert select(path, "SELECT customer, experiment, arm, p_alive, clv FROM signals ORDER BY 1") == more
    with reading(path, SMALL) as connection:
        export(connection, tmp_path / "files")
    for name, expected, columns in (
        ("cards/cards.parquet", cards, "customer, p_alive, clv, value_at_risk"),
        ("signals/*/signals.parquet", told, "customer, value_at_risk"),
    ):
        assert (
            duckdb.sql(f"SELECT {columns} FROM '{tmp_path / 'files' / name}' ORDER BY 1").fetchall()
            == expected
        )
    # A single value that differs is found.
    other = built(tmp_path / "other", batch(cards=[card("anna", 0, 5, **worth | {"clv": 80.25})]))
    same = built(tmp_path / "same", batch(cards=[card("anna", 0, 5, **worth)]))
    assert [each.table for each in compare(same, other, SMALL)] == ["score_cards"]


def test_a_tombstone_deletes_the_card_and_a_later_card_replaces_it(tmp_path: Path) -> None:
    first = batch(cards=[card("anna", 0, 5), card("bert", 0, 6), card("anna", 0, 8)])
    last = Batch()
    last.add_tombstone(0, 3, "bert")
    path = built(tmp_path / "w", first, last)
    assert select(path, 'SELECT customer, "offset" FROM cards') == [("anna", 8)]
    assert select(path, "SELECT customer FROM customers") == [("anna",)]


def test_of_cards_in_several_partitions_the_latest_counts(tmp_path: Path) -> None:
    later = card("anna", 2, 1, "2026-01-02T00:00:00.000Z")
    for order in itertools.permutations([card("anna", 0, 5), later]):
        path = built(tmp_path / str(hash(order)), batch(cards=order[:1]), batch(cards=order[1:]))
        assert select(path, "SELECT partition FROM cards") == [(2,)]


def test_rejected_records_are_counted(tmp_path: Path) -> None:
    first, second = Batch(), Batch()
    first.rejected[Refusal(date(2026, 1, 1), "/web", "invalid")] = 2
    second.rejected[Refusal(date(2026, 1, 1), "/web", "invalid")] = 3
    second.rejected[Refusal(None, None, "malformed")] = 1
    path = built(tmp_path / "w", first, second)
    found = select(path, "SELECT day, source, reason, sum(records) FROM rejected GROUP BY ALL ORDER BY ALL")
    assert found == [(date(2026, 1, 1), "/web", "invalid", 5), (None, None, "malformed", 1)]


# --- The content is a function of the logs

CUSTOMERS = ["anna", "bert", "cleo"]
KEYS = ("kind", "source", "channel", "touchpoint", "stage", "topic", "level_after")


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[tuple[str, int, int, int]]]:
    rows = []
    for partition in range(2):
        for offset in range(draw(st.integers(0, 8))):
            more = {
                "partition": partition,
                "time": START + draw(st.integers(0, 3 * DAY_MS)),
                "touchpoint": draw(st.sampled_from([None, "checkout"])),
                "agent": draw(st.sampled_from([None, "A", "B"])),
                "wait_s": draw(st.sampled_from([None, 0.0, 0.5, 30.0, 1e12])),
                "resolved": draw(st.sampled_from([None, True, False])),
                "flags": draw(st.integers(0, 31)),
                "effort": draw(st.sampled_from([0.0, 0.1, 2.5])),
            }
            rows.append(row(offset, draw(st.sampled_from(CUSTOMERS)), **more))
    erasures = draw(
        st.lists(
            st.tuples(
                st.sampled_from(CUSTOMERS),
                st.integers(0, 1),
                st.integers(0, 9),
                st.integers(START, START + 3 * DAY_MS),
            ),
            max_size=3,
        )
    )
    return rows, erasures


def survives(each: dict[str, Any], erasures: list[tuple[str, int, int, int]]) -> bool:
    return not any(
        customer == each["customer"]
        and (each["offset"] < offset if partition == each["partition"] else each["time"] <= time)
        for customer, partition, offset, time in erasures
    )


def rfc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expected_daily(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], Counter[str]]:
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for each in rows:
        day = datetime.fromtimestamp(each["time"] / 1000, UTC).date()
        sums = found.setdefault((day, *(each.get(name) for name in KEYS)), Counter())
        sums["touchpoints"] += 1
        sums["effort_micro"] += round(each["effort"] * 1e6)
        sums["unresolved"] += each["resolved"] is False
        sums["rage_clicks"] += bool(each["flags"] & 4)
        sums["failed"] += bool(each["flags"] & 16)
        sums["waited"] += each["wait_s"] is not None
        sums["wait_ms"] += round(min(each["wait_s"] or 0, 1e9) * 1000)
    return found


@settings(max_examples=6, deadline=None)
@given(logs(), st.randoms(use_true_random=False))
def test_cuts_order_repeats_and_erasures_do_not_change_the_content(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[Any, Any], chance: Any
) -> None:
    rows, erasures = made
    folder = tmp_path_factory.mktemp("w")
    receipts = [receipt(who, partition, offset, rfc(time)) for who, partition, offset, time in erasures]
    plain = built(folder / "plain", batch(rows, receipts))
    parts = [batch([each]) for each in rows if chance.random() < 0.3]
    parts += [batch(rows[i : i + 3]) for i in range(0, len(rows), 3)]
    parts += [batch(receipts=[each]) for each in receipts]
    parts += [batch(rows + rows[:1])] if chance.random() < 0.3 else []
    chance.shuffle(parts)
    mixed = built(folder / "mixed", *parts)
    if chance.random() < 0.5:
        with Store(mixed, SMALL) as store:
            store.compact()
            assert all(rows == keys and not less for rows, keys, less in signs(store))
    assert compare(plain, mixed, SMALL) == []
    assert check_aggregates(mixed, SMALL) == []

    kept = [each for each in rows if survives(each, erasures)]
    there = select(mixed, 'SELECT partition, "offset" FROM touchpoints')
    assert sorted(there) == sorted((each["partition"], each["offset"]) for each in kept)
    assert {name for (name,) in select(mixed, "SELECT customer FROM customers")} == {
        each["customer"] for each in kept
    }
    names = ["touchpoints", "effort_micro", "unresolved", "rage_clicks", "failed", "waited", "wait_ms"]
    with reading(mixed, SMALL) as connection:
        summed = connection.execute(
            f"SELECT day, {', '.join(KEYS)}, {', '.join(names)} FROM ({aggregates.summed('daily')})"
        ).fetchall()
    want = {key: tuple(sums[name] for name in names) for key, sums in expected_daily(kept).items()}
    assert {tuple(found[:8]): tuple(found[8:]) for found in summed} == want


def test_cards_and_signals_of_an_erased_customer_go_too_and_do_not_come_back(tmp_path: Path) -> None:
    records = batch(
        [row(1, "anna"), row(2, "bert")],
        cards=[card("anna", 0, 1), card("bert", 0, 2)],
        signals=[signal("anna", 0, 1), friction("anna", 0, 1), signal("anna", 0, 9, change="erased")],
    )
    asked = batch(receipts=[receipt("anna", 0, 9)])
    before = built(tmp_path / "before", records, asked)
    after = built(tmp_path / "after", asked, records)
    for path in (before, after):
        assert select(path, "SELECT customer FROM customers") == [("bert",)]
        for name in ("cards", "signals", "friction"):
            assert select(path, f"SELECT count(*) FROM {name} WHERE customer = 'anna'") == [(0,)]
    assert compare(before, after, SMALL) == []


def test_somebody_erased_may_come_back_as_a_new_customer(tmp_path: Path) -> None:
    # Also one whom the same process had already taken in.
    before = batch([row(i, who) for i, who in enumerate(("anna", "otto"))])
    erasure, after = batch(receipts=[receipt("anna", 0, 9)]), batch([row(8, "anna"), row(10, "anna")])
    there = 'SELECT "offset", customer FROM touchpoints JOIN customers USING (customer_id) ORDER BY ALL'
    for i, batches in enumerate(((erasure, after), (before, erasure, after))):
        path = built(tmp_path / f"w{i}", *batches)
        assert select(path, there) == [*([(1, "otto")] if i else []), (10, "anna")]


def signs(store: Store) -> list[tuple[Any, ...]]:
    """Of each aggregate its rows, the keys of which something is left, and whether a row has a negative count."""
    found = []
    for each in aggregates.TABLES:
        _, counts = aggregates.columns(each)
        query = f"SELECT count(*), (SELECT count(*) FROM ({aggregates.summed(each)})), bool_or({counts[0]} < 0) FROM {each}"
        found += store.connection.execute(query).fetchall()
    return found


def test_names_are_in_no_temporary_table_after_a_transaction(tmp_path: Path) -> None:
    temporary = "SELECT table_name FROM duckdb_tables() WHERE temporary"
    with Store(tmp_path / "w", SMALL) as store:
        ingest = Ingest(store)
        people = [row(i, f"customer-{i % 3}") for i in range(9)]
        for each in (
            batch(
                people,
                cards=[card("anna", 0, 5)],
                signals=[signal("customer-1", 0, 7), friction("bert", 0, 7)],
            ),
            batch(receipts=[receipt("customer-1", 0, 5000)]),
            batch([row(9, "customer-1")], cards=[card("customer-1", 0, 6)]),
        ):
            ingest.apply(each)
            assert store.connection.execute(temporary).fetchall() == []


def test_nothing_of_an_erased_customer_is_in_the_file_after_compaction(tmp_path: Path) -> None:
    path = tmp_path / "w"
    rows = [
        row(
            i,
            f"customer-{i % 50}",
            session=f"session-of-{i % 50}-{i}",
            agent=f"agent-of-{i % 50}",
            wait_s=3.0,
        )
        for i in range(2000)
    ]
    with Store(path, SMALL) as store:
        ingest = Ingest(store)
        ingest.apply(batch(rows, cards=[card("customer-7", 0, 5)], signals=[signal("customer-7", 0, 7)]))
        store.checkpoint()
        assert b"customer-7" in path.read_bytes()
        ingest.apply(batch(receipts=[receipt("customer-7", 0, 5000)]))
        assert store.get("deleted_at")
        assert [less for _, _, less in signs(store)] == [True] * len(aggregates.TABLES)
        store.compact()
        assert store.get("deleted_at") is None
        # Neither what was subtracted nor what it was subtracted from.
        assert all(rows == keys and not less for rows, keys, less in signs(store))
        assert not value(store.connection, "SELECT count(*) FROM daily_by WHERE value = 'agent-of-7'")
        assert store.get("consolidated") == str(aggregates.rows(store.connection))
        ingest.apply(batch([row(6000, "new")]))
    left = path.read_bytes()
    for trace in (b"customer-7\0", b"session-of-7-", b"cx.touchpoints-0-7-0"):
        assert trace not in left
    names = [name for (name,) in select(path, "SELECT customer FROM customers")]
    assert len(names) == 50
    assert "customer-7" not in names
    assert check_aggregates(path, SMALL) == []


def test_days_before_the_kept_ones_go_and_do_not_come_back(tmp_path: Path) -> None:
    days = [row(i, f"c{i}", time=START + i * DAY_MS) for i in range(4)]
    with Store(tmp_path / "w", SMALL) as store:
        ingest = Ingest(store)
        ingest.apply(batch(days, signals=[signal("c0", 0, 0)]))
        assert retain(store, date(2026, 1, 3)) == 3
        assert retain(store, date(2026, 1, 2)) == 0
        ingest.apply(batch(days, signals=[signal("c0", 0, 0)]))
    path = tmp_path / "w"
    assert select(path, "SELECT DISTINCT day FROM touchpoints ORDER BY 1") == [
        (date(2026, 1, 3),),
        (date(2026, 1, 4),),
    ]
    assert select(path, "SELECT customer FROM customers ORDER BY 1") == [("c2",), ("c3",)]
    assert check_aggregates(path, SMALL) == []


# --- Verification


@pytest.mark.parametrize(
    ("change", "table_name", "day"),
    [
        ('UPDATE touchpoints SET effort = effort + 1 WHERE "offset" = 77', "touchpoints", date(2026, 1, 1)),
        ('DELETE FROM touchpoints WHERE "offset" = 99', "touchpoints", date(2026, 1, 1)),
        ("UPDATE score_cards SET spent = 13", "score_cards", date(2026, 1, 1)),
        ("UPDATE risk_signals SET reasons = '[]'", "risk_signals", date(2026, 1, 1)),
        ("INSERT INTO rejected VALUES ('2026-01-02', 'x', 'invalid', 1)", "rejected", date(2026, 1, 2)),
        ("DELETE FROM changes", "changes", date(2026, 1, 3)),
        ("UPDATE customers SET customer = 'nobody' WHERE customer = 'c3'", "customers", None),
    ],
)
def test_a_single_changed_row_is_found(
    tmp_path: Path, change: str, table_name: str, day: date | None
) -> None:
    records = batch(
        [row(i, f"c{i % 7}") for i in range(100)], cards=[card("c1", 0, 5)], signals=[signal("c1", 0, 7)]
    )
    event = example_change() | {"time": "2026-01-03T00:00:00Z"}
    records.add_changes(markers(decode_changes([json.dumps(event).encode()])))
    first, second = built(tmp_path / "first", records), built(tmp_path / "second", records)
    assert compare(first, second, SMALL) == []
    with Store(second, SMALL) as store:
        store.connection.execute(change)
    found = [each for each in compare(first, second, SMALL) if each.table == table_name]
    assert [each.day for each in found] == [day]
    assert len(found[0].only_here) + len(found[0].only_there) in {1, 2}


def test_a_wrong_aggregate_is_found(tmp_path: Path) -> None:
    path = built(tmp_path / "w", batch([row(i, "anna", agent="A", wait_s=3.0) for i in range(10)]))
    assert check_aggregates(path, SMALL) == []
    for name, column in (("daily", "effort_micro"), ("daily_values_by", "records")):
        with Store(path, SMALL) as store:
            store.connection.execute(f"UPDATE {name} SET {column} = {column} + 1")
        assert [each.table for each in check_aggregates(path, SMALL)][-1:] == [name]


def test_adding_up_aggregates_changes_none(tmp_path: Path) -> None:
    path = built(tmp_path / "w", *(batch([row(i, "anna", agent="A", wait_s=3.0)]) for i in range(5)))
    with Store(path, SMALL) as store, store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM daily").fetchall() == [(5,)]
        aggregates.consolidate(connection)
        assert connection.execute("SELECT count(*) FROM daily").fetchall() == [(1,)]
    assert check_aggregates(path, SMALL) == []


def test_aggregates_with_hardly_any_key_twice_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregates, "_ENOUGH", 1)
    monkeypatch.setattr(aggregates, "_SAMPLE", 1)
    # Of 20 places in `daily`, one comes twice; in `daily_by` agent A is there each time.
    rows = [row(i, "anna", agent="A", touchpoint=f"page {i % 19}") for i in range(20)]
    path = built(tmp_path / "w", *(batch([each]) for each in rows))
    counts = "SELECT (SELECT count(*) FROM daily), (SELECT count(*) FROM daily_by)"
    with Store(path, SMALL) as store, store.transaction() as connection:
        assert connection.execute(counts).fetchall() == [(20, 20)]
        aggregates.consolidate(connection)
        assert connection.execute(counts).fetchall() == [(20, 1)]
    assert check_aggregates(path, SMALL) == []


@given(st.integers(1, 100), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_rows_are_by_day_and_kind_and_each_thread_has_full_row_groups(
    rows: int, threads: int, chance: Any
) -> None:
    days, kinds = chance.choices(range(4), k=rows), chance.choices("abc", k=rows)
    moments = pa.array([START + day * DAY_MS for day in days], pa.timestamp("ms"))
    found = in_order(pa.table({"time": moments, "kind": kinds, "row": range(rows)}), threads, group=10)
    first = {kind: kinds.index(kind) for kind in kinds}
    order = sorted(range(rows), key=lambda i: (days[i], first[kinds[i]]))
    assert found.column("row").to_pylist() == order
    lengths = [len(chunk) for chunk in found.column("row").chunks]
    assert len(lengths) == max(1, min(threads, rows // 10))
    if len(lengths) > 1:
        assert all(length >= 10 and length % 10 not in range(1, 6) for length in lengths[:-1])
        assert lengths[-1] >= 10


def test_a_bucket_is_at_most_one_percent_wrong() -> None:
    values = [0.001 * 1.013**i for i in range(2000)]
    with duckdb.connect() as connection:
        (statements,) = [sql for number, sql in migrations() if number == 1]
        connection.execute(statements)
        connection.execute("CREATE TABLE v AS SELECT unnest(?::DOUBLE[]) AS x", [values])
        found = connection.execute("SELECT x, bucket_value(log_bucket(x)) FROM v WHERE x < 1e9").fetchall()
        assert connection.execute("SELECT bucket_value(log_bucket(0.0)), log_bucket(1e300)").fetchall() == [
            (0.0, math.ceil(math.log(1e9) / math.log(1.02)))
        ]
    assert max(abs(middle / x - 1) for x, middle in found) <= 0.01


# --- Who has it open


HOLD = """
import sys
from pathlib import Path
from cxstream.settings import Warehouse
from cxstream.warehouse.store import Store
with Store(Path(sys.argv[1]), Warehouse(memory_mib=512)) as store:
    if sys.argv[2:]:
        store.publish()
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_has_it_open_and_may_read_the_copy(tmp_path: Path) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    for more in ([], ["publish"]):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            assert next_line(holder) == "open\n"
            with pytest.raises(WarehouseError, match=f"process {holder.pid} has it open: .*SIGUSR1"):
                Store(path, SMALL)
            if more:
                assert copy_of(path).exists()
                assert select(path, "SELECT customer FROM customers") == [("anna",)]
            else:
                with pytest.raises(WarehouseError, match=f"process {holder.pid}"):
                    select(path, "SELECT 1")
            holder.communicate(timeout=60)


def test_readers_do_not_exclude_each_other(tmp_path: Path) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    with reading(path, SMALL):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('FROM customers').fetchall())",
                path,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    assert "anna" in done.stdout


def test_what_is_no_warehouse_of_this_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no such warehouse"):
        select(tmp_path / "missing", "SELECT 1")
    text = tmp_path / "text"
    text.write_text("no database\n" * 1000)
    with pytest.raises(WarehouseError, match="text"):
        Store(text, SMALL)
    # DuckDB reads it as data, into memory.
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n")
    with pytest.raises(WarehouseError, match=r"data\.csv"):
        Store(data, SMALL)
    assert data.read_text() == "a,b\n1,2\n"
    other = tmp_path / "other"
    with duckdb.connect(str(other)) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    with pytest.raises(WarehouseError, match="something else"):
        Store(other, SMALL)
    later = built(tmp_path / "later", batch([row(1, "anna")]))
    with Store(later, SMALL) as store:
        store.connection.execute("INSERT INTO migrations VALUES (999)")
    with pytest.raises(WarehouseError, match="later version"):
        Store(later, SMALL)


def test_a_failed_batch_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = batch([row(1, "anna")])
    bad.positions[("cx.scored", 0)] = "none"  # type: ignore[assignment]
    with Store(tmp_path / "w", SMALL) as store:
        ingest = Ingest(store)
        with pytest.raises(duckdb.Error):
            ingest.apply(bad)
        assert store.connection.execute("SELECT count(*) FROM touchpoints").fetchall() == [(0,)]
        good = batch([row(1, "anna")])
        good.positions[("cx.scored", 0)] = 7
        ingest.apply(good)
        assert store.connection.execute("FROM positions").fetchall() == [("cx.scored", 0, 7)]
        # Whom the failed one has added is new again.
        there = "SELECT customer FROM touchpoints JOIN customers USING (customer_id)"
        assert store.connection.execute(there).fetchall() == [("anna",)]


def test_verify_shows_of_rows_that_differ_what_differs() -> None:
    here = {"day": None, "customer": "anna", "partition": 0, "offset": 7, "effort": 1.0, "mood": 0.5}
    there = here | {"effort": 2.0}
    other = here | {"offset": 8}
    assert list(lines([here, other], [there, here | {"offset": 9}])) == [
        "partition=0, offset=7: effort=1.0, expected 2.0",
        "only here: partition=0, offset=8",
        "missing: partition=0, offset=9",
    ]
    card = {"day": None, "customer": "anna", "partition": 1, "level": "high", "features": "{}"}
    assert list(lines([card], [])) == ["only here: customer=anna, partition=1"]
    counts = {"day": None, "source": "/shop", "reason": "invalid", "records": 2}
    assert list(lines([counts], [counts | {"records": 3}])) == [
        "source=/shop, reason=invalid: records=2, expected 3"
    ]


@pytest.mark.parametrize("is_used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("is_new", [False, True], ids=["there before", "new"])
def test_a_new_file_that_nothing_was_written_to_goes_with_a_failure(
    tmp_path: Path, is_new: bool, is_used: bool
) -> None:
    """As where Kafka does not answer at first."""
    path = tmp_path / "w.duckdb"
    if not is_new:
        Store(path, Warehouse()).close()

    def fail() -> None:
        with Store(path, Warehouse()) as store:
            if is_used:
                with store.transaction():
                    pass
            raise BrokerError("no answer")

    with pytest.raises(BrokerError):
        fail()
    assert path.exists() == (is_used or not is_new)
    assert [each.name for each in tmp_path.iterdir()] == ["w.duckdb"] * path.exists()


def fail_in(path: Path) -> None:
    with pytest.raises(BrokerError), Store(path, Warehouse()):
        raise BrokerError("no answer")


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let something happen between the look whether there is a file and its opening."""
    connect = duckdb.connect

    def late(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(duckdb, "connect", connect)
        act()
        return connect(*args, **options)

    monkeypatch.setattr(duckdb, "connect", late)


def test_a_file_that_another_process_makes_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.duckdb"
    holders = []

    def hold() -> None:
        program = [sys.executable, "-c", HOLD, str(path)]
        holders.append(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert next_line(holders[0]) == "open\n"

    meanwhile(monkeypatch, hold)
    with pytest.raises(WarehouseError, match="has it open"):
        Store(path, SMALL)
    assert path.exists()
    holders[0].communicate(timeout=60)


def test_a_file_that_another_process_fills_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.duckdb"
    meanwhile(monkeypatch, lambda: built(path, batch([row(1, "anna")])))
    fail_in(path)
    assert select(path, "SELECT customer FROM customers") == [("anna",)]


def test_a_file_is_deleted_before_others_may_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, close, found = tmp_path / "w.duckdb", Store.close, []

    def closed(self: Store) -> None:
        found.append(path.exists())
        close(self)

    monkeypatch.setattr(Store, "close", closed)
    fail_in(path)
    assert found == [False]
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_nowhere_yet_stays(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.symlink_to(tmp_path / "elsewhere")
    fail_in(path)
    assert path.is_symlink()


def test_a_warehouse_that_was_built_again_stays_where_no_copy_of_it_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the damaged one was deleted, and the disk has no room for a copy."""
    path, other = tmp_path / "w.duckdb", built(tmp_path / "other", batch([row(1, "anna")]))
    copy_of(path).touch()
    monkeypatch.setattr(Store, "publish", Mock(side_effect=WarehouseError("full")))
    with pytest.raises(WarehouseError, match="full"), Store(path, Warehouse()) as store:
        store.replace_by(other)
    assert select(path, "SELECT customer FROM customers") == [("anna",)]


def test_a_follower_that_cannot_begin_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    nobody = f"{HOST}:{free(1)[0]}"
    done = CliRunner().invoke(group, ["warehouse", "follow", "--warehouse", str(path), "--kafka", nobody])
    assert isinstance(done.exception, BrokerError)
    assert list(tmp_path.iterdir()) == []
