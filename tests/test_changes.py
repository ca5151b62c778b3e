"""Changes of the experience: written by a command, read from files and Kafka, ignored by scoring, kept in the warehouse."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from aiokafka import AIOKafkaConsumer
from jsonschema import Draft202012Validator

from cxstream.model.enumerations import CHANNELS
from cxstream.scoring.codec.changes import changes_among, decode_changes
from cxstream.scoring.codec.decode import decode
from cxstream.settings import Settings, Warehouse
from cxstream.topology import CHANGES, TOUCHPOINTS
from cxstream.warehouse.batch import Batch
from cxstream.warehouse.follow import follow
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.rebuild import verify
from cxstream.warehouse.store import Store
from cxstream.wire.examples import example_change
from cxstream.wire.schema import documents
from in_process import completed, cxstream, cxstream_text
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = Warehouse(memory_mib=256, threads=1)


def change(number: int, **more: Any) -> bytes:
    event = example_change() | {"id": f"r-{number}", "time": f"2026-01-{number + 1:02}T00:00:00+01:00"}
    data = {"name": f"release {number}", "channel": "web"}
    return json.dumps(event | {"data": data} | more).encode()


def rows(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(
            "SELECT source, id, time::VARCHAR, name, channel, touchpoint, product, location FROM changes ORDER BY time"
        ).fetchall()


# --- the command


def test_a_change_is_appended_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "changes.ndjson"
    out.write_bytes(change(1))  # its line does not end
    place = ("--channel", "web", "--touchpoint", "checkout", "--product", "p-1", "--location", "Kraków")
    completed("change", "one-page checkout", "--at", "2026-03-02T09:00:00+01:00", *place, "--out", out)
    completed("change", "a price", "--id", "p", "--source", "/prices", "--out", out)
    first, second, third = map(json.loads, out.read_text().splitlines())
    assert first["id"] == "r-1"
    assert second["time"] == "2026-03-02T08:00:00.000Z"
    assert second["data"] == {
        "name": "one-page checkout", "channel": "web", "touchpoint": "checkout", "product": "p-1", "location": "Kraków"
    }  # fmt: skip
    assert (third["id"], third["source"], third["data"]) == ("p", "/prices", {"name": "a price"})
    assert not decode_changes(out.read_bytes().splitlines()).rejected
    assert cxstream_text("validate", out).returncode == 0


def test_a_change_is_written_to_standard_output() -> None:
    done = cxstream("change", "a price", "--out", "-")
    assert (done.returncode, json.loads(done.stdout)["data"]) == (0, {"name": "a price"})


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("",), 2, "NAME: "),
        (("x" * 257,), 2, "NAME: "),
        (("a", "--product", "x" * 257), 2, "--product: "),
        (("a", "--source", ""), 2, "--source: "),
        (("a", "--channel", "telex"), 2, "'telex' is not one of"),
        (("a", "--at", "tomorrow"), 2, "is neither RFC 3339"),
        (("a", "--kafka", "localhost:1"), 2, "say one of them"),
        (("a", "--out", "missing/file"), 1, "missing/file: cannot be written"),
        (("a", "--out", "file.gz"), 1, "file.gz: a line can only be appended to a plain file"),
    ],
)
def test_a_wrong_change_is_refused(tmp_path: Path, words: tuple[str, ...], status: int, message: str) -> None:
    out = () if "--out" in words else ("--out", tmp_path / "out.ndjson")
    done = cxstream("change", *words, *out, cwd=tmp_path)
    assert done.returncode == status
    assert message in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


# --- records


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ({"data": {}}, "data.name"),
        ({"data": {"name": ""}}, "data.name"),
        ({"data": {"name": "x", "channel": "telex"}}, "data.channel"),
        ({"data": {"name": "x", "location": 7}}, "data.location"),
        ({"time": "yesterday"}, "time"),
        ({"source": ""}, "source"),
        ({"specversion": "2.0"}, "specversion"),
    ],
)
def test_a_broken_change_is_rejected_for_what_is_wrong_with_it(
    tmp_path: Path, broken: dict[str, Any], field: str
) -> None:
    values = [touchpoint("anna", 1), change(1, **broken), b"{", change(2)]
    found, remaining = changes_among(values, decode(values).rejected)
    assert [marker.event.id for marker in found] == ["r-2"]
    assert [(each.index, each.reason, each.field) for each in remaining] == [
        (1, "invalid", field),
        (2, "malformed", ""),
    ]
    (tmp_path / "in.ndjson").write_bytes(values[1])
    done = cxstream_text("validate", "--json", tmp_path / "in.ndjson")
    assert (done.returncode, [json.loads(line)["field"] for line in done.stdout.splitlines()]) == (1, [field])


@pytest.mark.parametrize(
    "more",
    [
        {
            "data": {"name": "x" * 256, "channel": None, "product": "\U0001f600" * 256, "unknown": 1},
            "subject": "anna",
        },
        {"data": {"name": "x" * 257}},
        {"data": {"name": None}},
        {"data": {"name": "x", "touchpoint": "x" * 257}},
        {"data": {"name": "x", "channel": "telex"}},
        {"data": []},
        {"id": ""},
        {"source": "x" * 257},
        {"time": "2026-02-30T00:00:00Z"},
        {"time": "2026-01-01T00:00:00"},
        {"specversion": "0.3"},
    ],
)
def test_schema_and_decoder_accept_the_same_changes(more: dict[str, Any]) -> None:
    schema = Draft202012Validator(documents()["change.v1.json"])
    value = change(1, **more)
    assert schema.is_valid(json.loads(value)) is not bool(decode_changes([value]).rejected)


def test_every_problem_of_a_change_is_told(tmp_path: Path) -> None:
    broken = change(1, time="yesterday", data={"channel": "telex", "touchpoint": 1, "tochpoint": "x"})
    (tmp_path / "in.ndjson").write_bytes(broken)
    done = cxstream_text("validate", "--json", tmp_path / "in.ndjson")
    found = {json.loads(line)["field"]: json.loads(line)["message"] for line in done.stdout.splitlines()}
    assert set(found) == {"time", "data.name", "data.channel", "data.touchpoint", "data.tochpoint"}
    assert ", ".join(CHANNELS) in found["data.channel"]


def test_scoring_does_not_see_changes(tmp_path: Path) -> None:
    touchpoints = [touchpoint(f"c{i % 3}", i) for i in range(40)]
    (tmp_path / "without.ndjson").write_bytes(b"\n".join(touchpoints))
    # One with its type in escapes, two of the same id, one in the far future.
    escaped = change(3).replace(b"cx.change", b"cx\\u002echange")
    planned = change(4, time="2199-01-01T00:00:00Z")
    some = [
        change(1),
        *touchpoints[:9],
        escaped,
        change(2),
        *touchpoints[9:],
        change(2, time="2026-01-29T00:00:00Z"),
        planned,
    ]
    (tmp_path / "with.ndjson").write_bytes(b"\n".join(some))
    for name in ("without", "with"):
        options = ("--warehouse", tmp_path / f"{name}.duckdb", "--partitions", 2)
        done = cxstream_text("replay", tmp_path / f"{name}.ndjson", "--out", tmp_path / name, *options)
        assert done.returncode == 0
        assert ("changes" in done.stderr) is (name == "with")
    for file in ("signals", "scores", "rejected"):
        without, with_changes = (told(tmp_path / name / f"{file}.ndjson") for name in ("without", "with"))
        assert without == with_changes
    assert rows(tmp_path / "without.duckdb") == []
    assert rows(tmp_path / "with.duckdb") == [
        ("/deployments", f"r-{number}", time, f"release {number}", "web", None, None, None)
        for number, time in [(1, "2026-01-01 23:00:00"), (2, "2026-01-02 23:00:00"), (3, "2026-01-03 23:00:00"),
                             (4, "2199-01-01 00:00:00")]
    ]  # fmt: skip


def told(path: Path) -> list[dict[str, Any]]:
    """The lines of a result, but for the places of the records that caused them."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for event in found:
        event.pop("id", None)
        event["data"].pop("cause", None)
    return found


def test_a_file_of_changes_alone_is_used(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_bytes(change(1))
    completed(
        "replay", tmp_path / "in.ndjson", "--out", tmp_path / "out", "--warehouse", tmp_path / "w.duckdb"
    )
    assert len(rows(tmp_path / "w.duckdb")) == 1


def test_a_change_counts_once_and_is_exported(tmp_path: Path) -> None:
    with Store(tmp_path / "w", SMALL) as store:
        ingest = Ingest(store)
        for numbers in ([1, 2, 1], [2], [3]):
            batch = Batch()
            batch.add_changes(changes_among(*_rejected([change(i) for i in numbers]))[0])
            ingest.apply(batch)
    assert [row[1] for row in rows(tmp_path / "w")] == ["r-1", "r-2", "r-3"]
    completed("warehouse", "export", "--warehouse", tmp_path / "w", "--out", tmp_path / "out")
    exported = pl.read_parquet(tmp_path / "out/changes/changes.parquet")
    assert exported["name"].to_list() == ["release 1", "release 2", "release 3"]


def _rejected(values: list[bytes]) -> tuple[list[bytes], Any]:
    return values, decode(values).rejected


# --- Kafka


async def read(kafka: str, topic: str) -> list[tuple[bytes | None, bytes]]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = consumer.assignment()
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.key, record.value) for record in records]
        return found
    finally:
        await consumer.stop()


@pytest.mark.broker
def test_changes_go_through_kafka_into_the_warehouse(
    kafka: str, topics: Callable[..., None], tmp_path: Path
) -> None:
    topics(2)
    broken = change(3, data={})
    planned = change(4, time="2199-01-01T00:00:00Z")
    (tmp_path / "in.ndjson").write_bytes(b"\n".join([change(1), touchpoint("anna", 1), broken, planned]))
    done = cxstream_text("produce", tmp_path / "in.ndjson", "--kafka", kafka)
    assert done.returncode == 0
    assert "future" not in done.stderr
    assert "sent 4 records" in done.stdout
    assert "2 changes of the experience went to cx.changes" in done.stdout
    done = cxstream_text("change", "a price", "--kafka", kafka, "--at", "2026-01-09T00:00:00Z")
    assert done.stdout == "cx.changes: 'a price' at 2026-01-09T00:00:00.000Z\n"
    sent = asyncio.run(read(kafka, CHANGES.name))
    assert sorted(json.loads(value)["data"]["name"] for _, value in sent) == [
        "a price",
        "release 1",
        "release 4",
    ]
    assert {key for key, _ in sent} == {b"/deployments", b"/cxstream/change"}
    # A worker rejects what is wrong, and says what it is.
    assert sorted(value for _, value in asyncio.run(read(kafka, TOUCHPOINTS.name))) == sorted(
        [touchpoint("anna", 1), broken]
    )
    settings = Settings(kafka=kafka, warehouse={"memory_mib": 256, "threads": 1})
    path = tmp_path / "w"

    async def followed() -> list[Any]:
        with Store(path, settings.warehouse) as store:
            await follow(settings, store, lambda _: None, until_end=True)
        return await verify(settings, path)

    assert asyncio.run(followed()) == []
    assert [row[3] for row in rows(path)] == ["release 1", "a price", "release 4"]
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE changes SET product = 'p-1' WHERE name = 'a price'")
    assert [each.table for each in asyncio.run(verify(settings, path))] == ["changes"]
