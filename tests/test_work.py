"""What people do in the console: records of cx.work against a plain reading of them, erased, kept, and ended in Kafka."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.model.work import Work, WorkData, customer_of, read_work, work_key
from cxstream.settings import Settings
from cxstream.topology import FORGOTTEN, WORK
from cxstream.warehouse.batch import Batch
from cxstream.warehouse.follow import follow
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.rebuild import rebuild, verify
from cxstream.warehouse.retention import retain
from cxstream.warehouse.store import Store, reading
from cxstream.warehouse.verify import compare
from cxstream.warehouse.work import endings
from cxstream.wire.schema import documents
from test_warehouse import SMALL
from test_warehouse_follow import produce
from warehouse_rows import receipt
from workers import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = datetime(2026, 3, 1, tzinfo=UTC)
ITEMS = ("assignment", "snooze", "note-1", "note-2")


def at(minute: int) -> str:
    return (START + timedelta(minutes=minute)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def work(customer: str, item: str, minute: int, **said: Any) -> tuple[bytes, bytes]:
    """Key and value of a record of cx.work."""
    kind: Any = item.partition("-")[0]
    event = Work(
        id=f"{item}@{minute}", subject=customer, time=at(minute), data=WorkData(kind, "anna", **said)
    )
    return work_key(customer, item), msgspec.json.encode(event)


def batch(*records: tuple[int, int, bytes, bytes | None]) -> Batch:
    found = Batch()
    for partition, offset, key, value in records:
        found.add_work(partition, offset, key, value)
    return found


def erasure(customer: str, minute: int) -> Batch:
    found = Batch()
    found.add_receipt(receipt(customer, 0, 1, at(minute)))
    return found


def built(path: Path, *batches: Batch) -> Path:
    with Store(path, SMALL) as store:
        for each in batches:
            Ingest(store).apply(each)
    return path


def rows(path: Path, columns: str = "customer, item, id") -> list[tuple[Any, ...]]:
    with reading(path, SMALL) as connection:
        return connection.execute(f"SELECT {columns} FROM work_items ORDER BY ALL").fetchall()


def test_a_key_names_customer_and_item_whatever_the_customer_is_called() -> None:
    for customer in ("a/b", "a/assignment", "ż/", "/"):
        assert customer_of(work_key(customer, "note-x-1")) == (customer, "note-x-1")
    for wrong in (b"anna", b"/snooze", b"anna/", b"anna/note", b"anna/note-", b"anna/other", b"\xff/snooze"):
        with pytest.raises(ValueError, match=r"cx\.work|utf-8"):
            customer_of(wrong)
    key, value = work("anna", "snooze", 1)
    assert read_work(key, value)[0] == "snooze"
    for other in (work_key("bert", "snooze"), work_key("anna", "assignment")):
        with pytest.raises(ValueError, match="another customer or item"):
            read_work(other, value)


def test_a_record_is_what_its_schema_says() -> None:
    _, value = work("anna", "note-1", 1, text="called")
    jsonschema.validate(json.loads(value), documents()["work.v1.json"])


RECORD = st.tuples(
    st.sampled_from(("a", "b/c")),
    st.integers(0, 1),
    st.sampled_from(ITEMS),
    st.integers(0, 300),
    st.booleans(),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(RECORD, max_size=12), st.lists(st.tuples(st.sampled_from(("a", "b/c")), st.integers(0, 300)), max_size=2),
       st.randoms(use_true_random=False))  # fmt: skip
def test_the_latest_record_of_each_item_counts_however_the_log_is_cut(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], erasures: list[tuple[str, int]], random: Any
) -> None:
    log = [
        (
            partition,
            offset,
            work_key(customer, item),
            None if ends else work(customer, item, minute)[1],
            minute,
        )
        for offset, (customer, partition, item, minute, ends) in enumerate(records)
    ]
    # Plain Python: the last of each key and partition, unless it ends the item or the customer is erased; then the latest.
    last = {(partition, key): (minute, value) for partition, _, key, value, minute in log}
    left: dict[bytes, tuple[int, int]] = {}
    for (partition, key), (minute, value) in last.items():
        customer = key.decode().rpartition("/")[0]
        gone = any(who == customer and minute <= at + 60 for who, at in erasures)
        if value is not None and not gone:
            left[key] = max(left.get(key, (-1, -1)), (minute, partition))
    wanted = sorted(
        (*customer_of(key), f"{customer_of(key)[1]}@{minute}") for key, (minute, _) in left.items()
    )

    folder = tmp_path_factory.mktemp("work")
    batches, rest = [], log
    while rest:
        size = random.randint(1, 4)
        batches.append(batch(*(each[:4] for each in rest[:size])))
        rest = rest[size:]
    for each in erasures:
        batches.insert(random.randint(0, len(batches)), erasure(*each))
    cut = built(folder / "cut", *batches)
    whole = built(
        folder / "whole", *(erasure(*each) for each in erasures), batch(*(each[:4] for each in log))
    )
    assert rows(cut) == rows(whole) == wanted
    assert compare(cut, whole, SMALL) == []
    with reading(cut, SMALL) as connection:
        known = {name for (name,) in connection.execute("SELECT customer FROM customers").fetchall()}
    assert known == {customer for customer, *_ in wanted}


def test_old_work_is_not_kept_and_does_not_come_back(tmp_path: Path) -> None:
    old, new = work("a", "note-1", 0), work("a", "note-2", 3 * 1440)
    path = built(tmp_path / "w", batch((0, 0, *old), (0, 1, *new)))
    with Store(path, SMALL) as store:
        retain(store, date(2026, 3, 2))
        Ingest(store).apply(batch((0, 2, *old)))
    assert rows(path) == [("a", "note-2", f"note-2@{3 * 1440}")]


def test_an_erasure_concerns_what_was_done_up_to_an_hour_later(tmp_path: Path) -> None:
    records = batch((0, 0, *work("a", "note-1", 160)), (0, 1, *work("a", "note-2", 161)))
    for name, batches in (("before", [records, erasure("a", 100)]), ("after", [erasure("a", 100), records])):
        assert rows(built(tmp_path / name, *batches)) == [("a", "note-2", "note-2@161")]


def test_a_time_that_is_none_is_refused_before_the_transaction() -> None:
    key, value = work("a", "snooze", 0, until="tomorrow")
    with pytest.raises(ValueError, match="tomorrow"):
        batch((0, 0, key, value))


@pytest.mark.broker
@pytest.mark.timeout(200)
async def test_work_comes_from_kafka_and_an_erasure_ends_it_there(
    kafka: str, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(2)
    chosen = Settings(
        kafka=kafka,
        warehouse={"memory_mib": 512, "threads": 1, "keep_days": 100_000},  # type: ignore[arg-type]
        worker={"group": f"test-{uuid.uuid4().hex[:12]}"},  # type: ignore[arg-type]
    )

    async def catch_up() -> None:
        with Store(path, chosen.warehouse) as store:
            await follow(chosen, store, lambda _: None, until_end=True)

    path = tmp_path / "w.duckdb"
    first = [(*work("a", "assignment", 0, assignee="anna"), []), (*work("a", "note-1", 1, text="called"), [])]
    other = [(*work("b", "snooze", 2, until="2026-03-09T00:00:00.000Z"), []), (b"none", b"{}", [])]
    await produce(chosen, {(WORK.name, 1): first, (WORK.name, 0): other})
    await catch_up()
    assert rows(path, 'customer, item, "by", assignee, until, text') == [
        ("a", "assignment", "anna", "anna", None, None),
        ("a", "note-1", "anna", None, None, "called"),
        ("b", "snooze", "anna", None, datetime(2026, 3, 9), None),  # noqa: DTZ001 - the warehouse has UTC without a zone
    ]
    said = receipt("a", 1, 1, at(5))
    await produce(chosen, {(FORGOTTEN.name, 1): [(b"x", said, [])]})
    await catch_up()
    assert [row[0] for row in rows(path)] == ["b"]
    async with Watcher(chosen, 2) as watcher:
        found = (await watcher.read(WORK.name))[1]
    assert [(each.key, each.value) for each in found[-2:]] == [(b"a/assignment", None), (b"a/note-1", None)]
    with Store(path, chosen.warehouse) as store:
        assert endings(store) == []
    assert await verify(chosen, path) == []
    await rebuild(chosen, path)
    assert [row[0] for row in rows(path)] == ["b"]
