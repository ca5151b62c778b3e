"""Rows of Parquet and Arrow are read as columns, and mean what the JSON of their values means."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
import subprocess
import sys
from array import array
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet as pq

import fuzz_plain
from cxstream.cli import group
from cxstream.files import event_rows, parquet, row_events
from cxstream.files.readers import read_batches
from cxstream.files.row_events import RowEvents
from cxstream.model.errors import InputError
from cxstream.model.kinds import Kind
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.plain import NUMBER, read_plain
from cxstream.scoring.codec.rows import Rows
from cxstream.scoring.codec.vocabulary import BUILT_IN
from cxstream.scoring.engine import Engine
from cxstream.scoring.router import Router
from cxstream.wire.examples import example
from strategies import PARAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STRINGS = pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()
SLICED = STRINGS[:2]  # what pyarrow can write to Parquet in parts, and within a struct
NUMBERS = pa.float64(), pa.float32(), pa.int64(), pa.int16(), pa.string()
TEXTS = (
    *(
        "",
        "a",
        "ż",
        "€" * 128,
        "x" * 129,
        "x" * 256,
        "😀" * 256,
        "😀" * 257,
        'q"uo\\te',
        "line\nfeed",
        "\0",
        "\x1f",
    ),
    *(
        "call",
        "web",
        "fax",
        "EUR",
        "eur",
        "EURO",
        "treated",
        "service",
        "1.0",
        "y" * 20_001,
        "2026-01-01T00:00:00Z",
    ),
)
FLOATS = 0.0, -0.0, 0.5, 1.0, 5.0, 7.0, 11.0, -1.0, 1e15, 2.0**53, 1e300, float("nan"), float("inf"), 1 / 3
WHOLE = 0, 1, 3, 5, 7, 10, 11, -1, 100
KINDS = [kind for kind in Kind if "data" in example(kind)]


def _type(pick: random.Random, values: list[Any], strings: tuple[pa.DataType, ...]) -> pa.DataType:
    """A type for a column that has these values."""
    some = next((value for value in values if value is not None), None)
    if isinstance(some, bool):
        return pick.choice((pa.bool_(), pa.bool_(), pa.bool_(), pa.int64(), pa.string()))
    if isinstance(some, int | float):
        return pick.choice(NUMBERS)
    if isinstance(some, list):
        return pa.list_(pa.string())
    return pick.choice(strings) if pick.random() < 0.9 else pa.binary()


def _as(kind: pa.DataType, value: Any) -> Any:
    """A value as a column of a type takes it; None for one that it cannot."""
    if value is None or isinstance(value, dict):
        return None
    if pa.types.is_boolean(kind):
        return bool(value)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind):
        return int(value) if abs(value) < 30_000 else None
    if pa.types.is_list(kind):
        return value if isinstance(value, list) else [str(value)]
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode() if pa.types.is_binary(kind) else text


def _odd(pick: random.Random, value: Any) -> Any:
    if isinstance(value, bool):
        return pick.choice((True, False, None))
    if isinstance(value, int | float):
        return pick.choice((*FLOATS, *WHOLE, None)) if pick.random() < 0.5 else pick.choice(WHOLE)
    if isinstance(value, list):
        return pick.choice(([], ["a"] * 51, ["x" * 129], [None], ["ż", "b"], None))
    return pick.choice((*TEXTS, None))


def table(seed: int, rows: int, odd: float, strings: tuple[pa.DataType, ...] = STRINGS) -> pa.Table:
    """Examples of all kinds, some with odd values, in columns of types that programs write."""
    pick = random.Random(seed)
    events = [json.loads(json.dumps(example(pick.choice(KINDS)))) for _ in range(rows)]
    for i, event in enumerate(events):
        event["id"] = f"e-{i}"
        for part in (event, event["data"]):
            for name, value in part.items():
                if name != "data" and pick.random() < odd / len(part):
                    part[name] = _odd(pick, value)
        if pick.random() < odd / 4:
            event["data"]["unknown"] = pick.choice(TEXTS)
        if pick.random() < odd / 20:
            event["data"] = None
    columns: dict[str, pa.Array] = {}
    for name in ("specversion", "id", "source", "type", "subject"):
        kind = pick.choice(strings)
        columns[name] = pa.array([_as(kind, event.get(name)) for event in events], kind)
    columns["time"] = _times(pick, events)
    columns["data"] = _data(pick, [event["data"] for event in events], strings)
    return pa.table(columns)


def _times(pick: random.Random, events: list[dict[str, Any]]) -> pa.Array:
    if pick.random() < 0.5:
        return pa.array([event.get("time") for event in events], pa.string())
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    times = [begin + dt.timedelta(milliseconds=pick.randrange(10**10)) for _ in events]
    kind = pa.timestamp(pick.choice(("s", "ms", "us", "ns")), pick.choice((None, "UTC")))
    return pa.array(times, pa.timestamp("us", "UTC")).cast(kind, safe=False)


def _data(
    pick: random.Random, datas: list[dict[str, Any] | None], strings: tuple[pa.DataType, ...]
) -> pa.Array:
    if pick.random() < 0.3:
        return pa.array(
            [None if data is None else json.dumps(data) for data in datas], pick.choice(strings[:2])
        )
    names = sorted({name for data in datas if data for name in data})
    pick.shuffle(names)
    arrays = []
    for name in names:
        values = [None if data is None else data.get(name) for data in datas]
        kind = _type(pick, values, strings)
        arrays.append(pa.array([_as(kind, value) for value in values], kind))
    mask = pa.array([data is None for data in datas])
    return pa.StructArray.from_arrays(arrays, names, mask=mask)


def rows_of(some: pa.Table) -> Rows:
    (batch,) = some.combine_chunks().to_batches()
    names = event_rows.columns_of_events(some.schema, Path("x"))
    [part] = event_rows.records(batch, names, Path("x"), 1, 1 << 16, 1 << 20)
    found = part.lines
    assert isinstance(found, Rows)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_rows_mean_what_their_json_means(seed: int) -> None:
    rows = rows_of(table(seed, 150, odd=(seed % 4) / 2))
    fast, general = fuzz_plain.vocabularies()
    assert fuzz_plain.told(decode(rows, vocabulary=fast)) == fuzz_plain.told(
        decode(list(rows), vocabulary=general)
    )
    assert rows.longest >= max(map(len, rows))


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_parquet_mean_the_same_whatever_comes_at_a_time(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row groups, pages and batches cut anywhere, and texts in dictionaries or as they are."""
    monkeypatch.setattr(parquet, "_LEAST_ROWS", 100 if seed == 2 else 1)
    some, path = table(seed, 150, odd=(seed % 3) / 4, strings=SLICED), tmp_path / "t.parquet"
    pq.write_table(some, path, row_group_size=60, data_page_size=500, use_dictionary=seed != 1)
    fast, general = fuzz_plain.vocabularies()
    found, coded, numbers = [], 0, []
    for _, part in parquet.read(path, 1024, 1 << 20):
        assert isinstance(part.lines, Rows)
        found += list(part.lines)
        numbers += list(part.numbers)
        coded += len(part.lines.cells.codes)
        assert fuzz_plain.told(decode(part.lines, vocabulary=fast)) == fuzz_plain.told(
            decode(list(part.lines), vocabulary=general)
        )
    assert found == list(rows_of(some))
    assert numbers == list(range(1, 151))
    assert bool(coded) == (seed not in {1, 2})


def test_rows_of_valid_events_are_read_as_columns() -> None:
    events = [
        example(kind) for kind in (Kind.click, Kind.contact, Kind.purchase, Kind.survey_nps, Kind.error)
    ]
    some = pa.Table.from_pylist(events)
    contract = BUILT_IN.contract
    assert contract is not None
    assert read_plain(contract, rows_of(some)).known.all()


@pytest.mark.parametrize(
    ("member", "odd"),
    [("stage", "loyalty"), ("stage", "checkout"), ("lang", ""), ("lang", "y" * 36), ("channel", "web"), ("channel", "fax"),
     ("channel", ""), ("arm", "treated"), ("arm", "others"), ("topic", "y" * 257), ("handle_s", "5")],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Kind.page_view, Kind.contact, Kind.purchase, Kind.social_post])
def test_one_word_of_a_column_spoils_the_rows_that_have_it_alone(kind: Kind, member: str, odd: str) -> None:
    """Words are looked at once and not in each row where all of them are valid, and where one is not."""
    events = [json.loads(json.dumps(example(kind))) for _ in range(9)]
    usual = {
        "stage": "service",
        "lang": "en",
        "channel": "call",
        "arm": "holdout",
        "topic": "a",
        "handle_s": "4",
    }[member]
    for i, event in enumerate(events):
        event["id"] = f"e-{i}"
        event["data"][member] = odd if i == 5 else usual
    table_ = pa.Table.from_pylist(events)
    data = table_["data"].combine_chunks()
    parts = [part.dictionary_encode() if pa.types.is_string(part.type) else part for part in data.flatten()]
    some = table_.set_column(
        table_.column_names.index("data"), "data", pa.StructArray.from_arrays(parts, data.type.names)
    )
    rows = rows_of(some)
    assert len(rows.cells.codes)
    fast, general = fuzz_plain.vocabularies()
    expected = decode(list(rows), vocabulary=general)
    assert fuzz_plain.told(decode(rows, vocabulary=fast)) == fuzz_plain.told(expected)
    whole = decode(rows, vocabulary=fast, fields=True).events.fields
    assert whole is not None
    for i in expected.valid.tolist():
        begin, end = whole.spans[i, NUMBER[member]]
        assert whole.text[begin:end].decode() == events[i]["data"][member]
    contract = BUILT_IN.contract
    assert contract is not None
    assert np.flatnonzero(read_plain(contract, rows).known).tolist() == expected.valid.tolist()


def test_rows_with_a_member_are_found_without_making_the_others() -> None:
    events = [example(Kind.contact) for _ in range(20)]
    for i in (3, 9, 17):
        events[i] = {**events[i], "data": {**events[i]["data"], "action_id": "a"}}
    some = pa.Table.from_pylist(events)
    rows = rows_of(some.slice(1))
    assert decode(rows).events.having("action_id").tolist() == [2, 8, 16]
    assert decode(rows).events.taken([0, 8, 2]).having("action_id").tolist() == [1, 2]
    assert decode(rows).events.having("agent").tolist() == [
        i for i in range(19) if "agent" in events[i + 1]["data"]
    ]
    assert decode(rows).events.having("lang").tolist() == []


def _ndjson(some: pa.Table, path: Path) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in rows_of(some)))


def _parquet(some: pa.Table, path: Path) -> None:
    pq.write_table(some, path, row_group_size=700)


def _one_group(some: pa.Table, path: Path) -> None:
    # Texts that are read by the codes of their words, without Arrow.
    data = [pa.field(each.name, pa.string()) if each.type == pa.large_string() else each for each in some["data"].type]  # fmt: skip
    for name, kind in (("type", pa.string()), ("data", pa.struct(data))):
        some = some.set_column(some.column_names.index(name), name, some[name].cast(kind))
    pq.write_table(some, path)


def _arrow(some: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, some.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(some, max_chunksize=600)


def _arrow_stream(some: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, some.schema) as stream:
        stream.write_table(some, max_chunksize=600)


FORMATS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": _parquet,
    "one.parquet": _one_group,
    "arrow": _arrow,
    "arrows": _arrow_stream,
}


def test_replay_gives_the_same_results_whatever_the_format(tmp_path: Path) -> None:
    some = table(3, 2000, odd=0.3, strings=SLICED)
    some = some.set_column(4, "subject", pa.array([f"c-{i % 50}" for i in range(some.num_rows)])).sort_by(
        "time"
    )
    _ndjson(some, tmp_path / "t.ndjson")
    for name, write in FORMATS.items():
        write(some, tmp_path / f"t.{name}")
    results = {}
    for name in ("ndjson", *FORMATS):
        out = tmp_path / name
        options = [
            "--until",
            "2026-12-01T00:00:00Z",
            "--quiet",
            "--scored",
            str(tmp_path / f"{name}.s.arrow"),
        ]
        result = CliRunner().invoke(
            group,
            ["replay", str(tmp_path / f"t.{name}"), "--out", str(out), *options, "--batch-bytes", "65536"],
        )
        assert result.exit_code == 0, result.output
        scored = pa.ipc.open_file(tmp_path / f"{name}.s.arrow").read_all()
        results[name] = [
            *((out / f"{each}.ndjson").read_bytes() for each in ("signals", "scores", "rejected")),
            scored.to_pylist(),
        ]
    assert all(results["ndjson"])
    assert b'"touchpoint":"' in results["ndjson"][0]
    for name in FORMATS:
        assert results[name] == results["ndjson"], name


@pytest.mark.parametrize("name", FORMATS)
def test_a_signal_needs_no_json_of_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    some = table(3, 3000, odd=0, strings=SLICED)
    some = some.set_column(4, "subject", pa.array([f"c-{i % 50}" for i in range(some.num_rows)]))
    FORMATS[name](some.sort_by("time"), tmp_path / f"t.{name}")
    chunks = list(read_batches([tmp_path / f"t.{name}"]))

    def signals(*, in_json: bool) -> list[list[Any]]:
        router = Router(PARAMS["unforgiving"], {})
        return [router.process(list(chunk.lines) if in_json else chunk.lines).signals for chunk in chunks]

    def refused(self: Rows, places: Sequence[int]) -> list[bytes]:
        # What no kernel reads, and what is looked at for its action, has been made before.
        assert self._made.keys() >= set(places)
        return [self._made[i] for i in places]

    def writing(write: Callable[..., Any]) -> Callable[..., Any]:
        def writes(*given: Any) -> Any:
            with monkeypatch.context() as patched:
                patched.setattr(Rows, "at", refused)
                return write(*given)

        return writes

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_signals", writing(Engine._signals))
        found = signals(in_json=False)
    assert len({each.topic for some in found for each in some}) == 2
    assert found == signals(in_json=True)


def test_an_arrow_stream_may_come_from_a_pipe(tmp_path: Path) -> None:
    sink = io.BytesIO()
    some = table(5, 30, odd=0, strings=SLICED)
    with pa.ipc.new_stream(sink, some.schema) as stream:
        stream.write_table(some)
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", "replay", "-", "--out", str(tmp_path / "o")],
        input=sink.getvalue(),
        capture_output=True,
        check=False,
    )
    assert b"of 30 records" in done.stdout, done.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_off_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"t.{name}"
    FORMATS[name](table(7, 1500, odd=0, strings=SLICED), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=f"t.{name}: not (Parquet|an Arrow file or stream) that can be read"):
        for _ in read_batches([path]):
            pass


@pytest.mark.parametrize("name", FORMATS)
def test_text_that_is_not_utf8_is_an_error_that_names_column_and_row(tmp_path: Path, name: str) -> None:
    sound = table(9, 1000, odd=0, strings=SLICED)
    sessions = [b"s"] * 1000
    sessions[799] = b"\xff"
    offsets = pa.py_buffer(b"".join(i.to_bytes(4, "little") for i in range(1001)))
    bad = pa.Array.from_buffers(pa.string(), 1000, [None, offsets, pa.py_buffer(b"".join(sessions))])
    web = pa.array(["web"] * 1000)
    data = pa.StructArray.from_arrays([web, bad], ["channel", "session"])
    FORMATS[name](sound.set_column(sound.schema.names.index("data"), "data", data), tmp_path / "t")
    with pytest.raises(InputError, match=r"t: column 'data.session', row 800: bytes that are not UTF-8"):
        for _ in read_batches([tmp_path / "t"], batch_bytes=100_000):
            pass


@pytest.mark.parametrize("member", [False, True])
def test_offsets_that_leave_32_bits_between_two_texts_are_an_error(tmp_path: Path, member: bool) -> None:
    """Each difference looks sound where it wraps around; the bytes lie gigabytes away."""
    some = table(9, 4, odd=0, strings=STRINGS[:1])
    offsets = array("i", [0, 2**31 - 1, -(2**31), -1, 5])
    bad = pa.Array.from_buffers(
        pa.string(), 4, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"abcdefgh")]
    )
    name = "data" if member else "subject"
    column = pa.StructArray.from_arrays([bad], ["session"]) if member else bad
    _arrow(some.set_column(some.schema.names.index(name), name, column), tmp_path / "t")
    with pytest.raises(InputError, match=r"t: column '(subject|data.session)', rows 1 to 4"):
        for _ in read_batches([tmp_path / "t"]):
            pass


ODD = {
    "two fields of one name": pa.StructArray.from_arrays([pa.array(["web"] * 3)] * 2, ["channel", "channel"]),
    "no zone": pa.StructArray.from_arrays([pa.array([1] * 3, pa.timestamp("us", "Mars/Base"))], ["at"]),
    "year 300000": pa.StructArray.from_arrays([pa.array([2**63 - 1] * 3, pa.timestamp("us"))], ["at"]),
    "seconds beyond 64 bits of ms": pa.array([2**62] * 3, pa.timestamp("s")),
}


@pytest.mark.parametrize("what", ODD)
def test_values_without_json_are_an_error_that_names_the_rows(tmp_path: Path, what: str) -> None:
    """Also where records are made long after they were read: a column says nothing about the rows that nobody makes."""
    some = table(9, 3, odd=0, strings=STRINGS[:1])
    name = "time" if pa.types.is_timestamp(ODD[what].type) else "data"
    _arrow(some.set_column(some.schema.names.index(name), name, ODD[what]), tmp_path / "t")
    with pytest.raises(InputError, match="t: rows 1 to 3: a value that JSON cannot have"):
        [list(chunk.lines) for chunk in read_batches([tmp_path / "t"])]


def test_numbers_and_nesting_beyond_those_of_json_spoil_no_other_row(tmp_path: Path) -> None:
    example_ = example(Kind.click)
    wide = pa.array([Decimal(10) ** 30, None, Decimal(7)], pa.decimal128(38, 0))
    data = pa.StructArray.from_arrays([pa.array(["web"] * 3), wide], ["channel", "width"])
    deep = pa.array(['{"channel":"web"}', '{"a":' * 3000 + "1" + "}" * 3000, '{"channel":"web"}'])
    valid = []
    for column in (data, deep):
        some = pa.Table.from_pylist([{**example_, "id": f"e-{i}"} for i in range(3)])
        _arrow(some.set_column(some.schema.names.index("data"), "data", column), tmp_path / "t")
        valid += [decode(chunk.lines).valid.tolist() for chunk in read_batches([tmp_path / "t"])]
    assert valid == [[0, 1, 2], [0, 2]]


def test_a_text_that_a_dictionary_has_once_is_not_made_for_all_rows_at_once(tmp_path: Path) -> None:
    n = 3000
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 100_000]))
    data = pa.StructArray.from_arrays([pa.array(["web"] * n), text], ["channel", "said"])
    columns = {name: pa.array([value] * n) for name, value in example(Kind.click).items() if name != "data"}
    _arrow(pa.table({**columns, "data": data}), tmp_path / "t")
    sizes = [len(chunk.lines) for chunk in read_batches([tmp_path / "t"])]
    assert sum(sizes) == n
    assert max(sizes) <= 167  # 16 MiB


def test_a_size_in_a_damaged_arrow_stream_is_not_reserved(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0" * 64)
    with pytest.raises(InputError, match="t: not an Arrow file or stream that can be read"):
        list(read_batches([tmp_path / "t"]))


def test_arrow_of_other_columns_is_refused_with_advice(tmp_path: Path) -> None:
    _arrow(pa.table({"customer": ["a"]}), tmp_path / "t.arrow")
    with pytest.raises(InputError, match=r"no column 'specversion'.*cxstream convert mapping"):
        list(read_batches([tmp_path / "t.arrow"]))


@pytest.mark.parametrize("texts", STRINGS)
def test_few_rows_are_taken_as_many_are(texts: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 40
    words = pa.array([None if i % 3 == 0 else f"w{i % 5}" for i in range(n)]).cast(texts)
    numbers = pa.array([None if i % 4 == 0 else i / 2 for i in range(n)])
    lists = pa.array([None if i % 5 == 0 else ["a", None] * (i % 3) for i in range(n)])
    known = pa.array([i % 7 == 0 for i in range(n)])
    data = pa.StructArray.from_arrays([words, numbers, lists], ["topic", "amount", "tags"], mask=known)
    columns = {"id": pa.array(range(n)), "source": words, "data": data}
    sliced = {name: column.slice(3, 30) for name, column in columns.items()}
    for places in ([0], [29, 4, 4], list(range(16)), list(range(1, 18)), []):
        told = RowEvents(sliced, 30).at(places)
        with monkeypatch.context() as patched:
            patched.setattr(row_events, "_FEW", -1)
            assert RowEvents(sliced, 30).at(places) == told
        assert [json.loads(line)["id"] for line in told] == [str(3 + i) for i in places]
