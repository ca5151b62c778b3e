"""Parquet as other programs write it becomes the events it stands for, or is refused with advice."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

from cxstream.cli import group
from cxstream.files.parquet import names_of, read_rows
from cxstream.files.readers import read_batches
from cxstream.model.errors import InputError

CASES = Path(__file__).parent / "cases" / "parquet"
REFUSED = {
    "date32.parquet": "column 'time' is date32[day]; it must be a string or a timestamp",
    "epoch_int.parquet": "column 'time' is int64; it must be a string or a timestamp",
    "uppercase_cols.parquet": "no column 'specversion'; there is 'SPECVERSION', but names are in small letters",
    "uuid_id.parquet": "column 'id' is fixed_size_binary[16]; it must be a string, a whole number or a UUID",
}
ROWS = {"zero_rows.parquet": 0}
SUBJECTS: dict[str, list[str | None]] = {
    "nulls.parquet": ["anna", None],
    "numeric_subject.parquet": ["7"],
    "wild/duckdb_intsubject.parquet": ["42"],
}
DATA_DIFFERS = {"bigint.parquet", "decimal.parquet", "nulls.parquet"}
FILES = sorted(str(path.relative_to(CASES)) for path in CASES.rglob("*.parquet"))
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/web",
    "type": "cx.touchpoint.error.v1",
    "subject": "ann",
    "time": "2025-01-01T10:00:00.250Z",
    "data": {"channel": "web"},
}


def events(path: Path, **options: int) -> list[dict[str, Any]]:
    return [json.loads(line) for chunk in read_batches([path], **options) for line in chunk.lines]


@pytest.mark.parametrize("name", [name for name in FILES if name not in REFUSED])
@pytest.mark.parametrize("batch_bytes", [1, 1 << 20])
def test_files_of_other_programs_are_read(name: str, batch_bytes: int) -> None:
    found = events(CASES / name, batch_bytes=batch_bytes)
    assert len(found) == ROWS.get(name, 1 if name.startswith("wild") else 2)
    for event in found:
        assert event.get("subject") in SUBJECTS.get(name, ["anna"])
        assert event["time"] in {"2025-03-01T10:00:00.000Z", "2025-03-01T11:00:00.000Z"}
        assert event.get("data") == {"channel": "web"} or name in DATA_DIFFERS
        assert isinstance(event["id"], str)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_event_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError) as refused:
        events(CASES / name)
    assert REFUSED[name] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_replay_uses_rows_of_duckdb(tmp_path: Path) -> None:
    inputs = [
        str(CASES / "wild" / name) for name in ("duckdb_json_uuid.parquet", "duckdb_intsubject.parquet")
    ]
    result = CliRunner().invoke(group, ["replay", *inputs, "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert "2 score cards, 0 rejected of 2 records" in result.output


def written(path: Path, **columns: Any) -> list[dict[str, Any]]:
    rows = {name: [value] for name, value in EVENT.items()}
    pq.write_table(pa.table({**rows, **columns}), path)
    return events(path)


UUID = uuid.UUID("7d04ac45-da30-4d25-bf48-3d383d29b5fc")


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.array([7], pa.uint64()), "7"),
        (pa.array([-7], pa.int8()), "-7"),
        (pa.array([7.0]), "7"),
        (pa.array([7.5]), 7.5),
        (pa.array([1e17]), 1e17),
        (pa.array([Decimal(12345678901234567890)], pa.decimal128(38, 0)), "12345678901234567890"),
        (pa.array([7]).dictionary_encode(), "7"),
        (pa.array(["ann"], pa.large_string()).dictionary_encode(), "ann"),
        (pa.array(["ann"], pa.string_view()), "ann"),
        (pa.array([b"ann"], pa.large_binary()), "ann"),
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID.bytes], pa.binary(16))), str(UUID)),
        (pa.array([None], pa.int64()), None),
        (pa.array([float("nan")]), None),
    ],
)
@pytest.mark.parametrize("name", ["id", "subject"])
def test_identifiers_are_text(tmp_path: Path, name: str, column: Any, found: object) -> None:
    assert written(tmp_path / "x", **{name: column})[0].get(name) == found


def test_an_identifier_that_is_no_whole_number_is_rejected_by_its_row(tmp_path: Path) -> None:
    written(tmp_path / "x.parquet", subject=[7.5])
    CliRunner().invoke(group, ["replay", str(tmp_path / "x.parquet"), "--out", str(tmp_path / "o")])
    (rejected,) = (tmp_path / "o" / "rejected.ndjson").read_text("utf-8").splitlines()
    assert json.loads(rejected)["field"] == "subject"


DATA = {"channel": "web", "wait_s": 1.5}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([DATA]),
        pa.array([{**DATA, "topic": None, "likes": None}]),
        pa.array([json.dumps(DATA)], pa.string_view()),
        pa.array([json.dumps(DATA).encode()]),
        pa.array([json.dumps(DATA)]).dictionary_encode(),
        pa.ExtensionArray.from_storage(
            pa.json_(pa.large_string()), pa.array([json.dumps(DATA)], pa.large_string())
        ),
        pa.array([{"channel": "web", "wait_s": Decimal("1.50")}]),
        pa.array([{"channel": "web", "wait_s": 1.5, "x": float("nan")}]),
    ],
)
def test_data_may_be_a_struct_or_json_of_any_kind(tmp_path: Path, column: Any) -> None:
    assert written(tmp_path / "x", data=column)[0]["data"] == DATA


def test_data_may_be_a_map_and_hold_lists(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.string())
    assert written(tmp_path / "x", data=pa.array([[("channel", "web")]], kind))[0]["data"] == {
        "channel": "web"
    }
    nested = [{"channel": "social", "hashtags": ["a", None], "more": [("k", [Decimal("1.5")])]}]
    kind = pa.struct(
        [
            ("channel", pa.string()),
            ("hashtags", pa.list_(pa.string())),
            ("more", pa.map_(pa.string(), pa.list_(pa.decimal128(3, 1)))),
        ]
    )
    data = written(tmp_path / "x", data=pa.array(nested, kind))[0]["data"]
    assert data == {"channel": "social", "hashtags": ["a", None], "more": {"k": [1.5]}}


def test_an_infinite_number_is_not_taken_for_an_absent_one(tmp_path: Path) -> None:
    assert (
        written(tmp_path / "x", data=[{"channel": "web", "wait_s": float("inf")}])[0]["data"]["wait_s"]
        == "inf"
    )


def test_old_timestamps_reach_beyond_nanoseconds(tmp_path: Path) -> None:
    rows = {name: [value] for name, value in EVENT.items()}
    table = pa.table({**rows, "time": pa.array([1_735_725_600_000_000], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "x.parquet", use_deprecated_int96_timestamps=True)
    assert events(tmp_path / "x.parquet")[0]["time"] == "2025-01-01T10:00:00.000Z"


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    rows = [*EVENT.items(), ("subject", "bob")]
    table = pa.table([pa.array([value]) for _, value in rows], names=[name for name, _ in rows])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column 'subject' is there twice"):
        events(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column 'subject' is there twice"):
        names_of(tmp_path / "x.parquet")


def test_rows_of_any_columns_are_plain_values(tmp_path: Path) -> None:
    moment = dt.datetime(2025, 1, 1, 10, tzinfo=dt.UTC)
    table = pa.table(
        {
            "day": [dt.date(2025, 1, 1)],
            "zoned": pa.array([moment], pa.timestamp("us", "Europe/Berlin")),
            "naive": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ns")),
            "ms": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms", None)),
            "bytes": [b"\xff\x00"],
            "fixed": pa.array([UUID.bytes], pa.binary(16)),
            "user": [{"id": 1, "name": None}],
            "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":[1]}'])),
            "price": [Decimal("1.50")],
            "nothing": pa.nulls(1),
            "unread": [1],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    ((share, rows),) = read_rows(tmp_path / "x.parquet", 1 << 20, set(table.column_names) - {"unread"})
    assert share == 1
    assert rows == [
        {
            "day": "2025-01-01",
            "zoned": "2025-01-01T10:00:00.000Z",
            "naive": "2025-01-01T10:00:00.000",
            "ms": "2025-01-01T10:00:00.000",
            "bytes": "ff00",
            "fixed": UUID.hex,
            "user": {"id": 1},
            "json": {"a": [1]},
            "price": 1.5,
        }
    ]
