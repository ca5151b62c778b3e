"""`cxstream replay --scored FILE`: the same rows in each format, and no half of a file."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet as pq

from cxstream.cli.replay import command
from cxstream.files import scored_file
from cxstream.files.scored import decode, encode, record_batch
from cxstream.files.scored_columns import SCHEMA
from cxstream.model.enumerations import LEVELS
from cxstream.model.errors import OutputError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.model.scored import COLUMNS
from cxstream.scoring.failing import BatchError
from cxstream.scoring.router import RoutedError, Router
from cxstream.settings import ACTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.scoring.engine import Outcome

Row = dict[str, Any]
START = datetime(2025, 3, 1, 8, tzinfo=UTC)


def event(i: int, subject: str, kind: Kind, minutes: int, **data: object) -> Row:
    return {
        "specversion": "1.0",
        "id": f"e{i}",
        "source": "/shop",
        "type": kind.type,
        "subject": subject,
        "time": (START + timedelta(minutes=minutes)).isoformat(),
        "data": {**kind.spec.example, **data},
    }


def history(n: int) -> list[Row]:
    dice = random.Random(7)
    events = [
        event(i, f"kunde-{dice.randrange(30)}-ż", dice.choice(list(Kind)), 20 * i - dice.randrange(3000))
        for i in range(n)
    ]
    return [*events, events[5], event(n, "ann", Kind.social_post, 20 * n, text="a secret", lang="en")]


EVENTS = history(900)


def read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    opened = pa.ipc.open_file if path.suffix == ".arrow" else pa.ipc.open_stream
    with opened(path) as reader:
        return reader.read_all()


def run(*args: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in args], catch_exceptions=False)


def write(path: Path, events: list[Row]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("in") / "touchpoints.ndjson", EVENTS)


@pytest.fixture(scope="module")
def expected() -> list[Row]:
    router = Router(ScoringParams(), ACTIONS, scored=True)
    outcome = router.process([json.dumps(each).encode() for each in EVENTS])
    assert outcome.scored is not None
    assert len(outcome.scored) == outcome.accepted
    return rows_of(outcome)


def rows_of(outcome: Outcome) -> list[Row]:
    assert outcome.scored is not None
    rows: list[Row] = record_batch(outcome.scored).to_pylist()
    return rows


@pytest.mark.parametrize("name", ["s.parquet", "s.arrow", "s.arrows", "s.PARQUET"])
@pytest.mark.parametrize("batch_bytes", [2000, 500_000])
def test_each_format_has_the_same_rows(
    source: Path,
    expected: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    batch_bytes: int,
) -> None:
    out, path = tmp_path / "out", tmp_path / name
    monkeypatch.setattr(scored_file, "_ROWS", 150)
    done = run(source, "--out", out, "--scored", path, "--batch-bytes", batch_bytes)
    assert done.exit_code == 0, done.output
    table = read(path) if path.suffix != ".PARQUET" else pq.read_table(path)
    assert table.column_names == [column.name for column in COLUMNS]
    assert table.to_pylist() == expected
    assert table["arrived"].null_count == len(table)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {"out", name}


def test_a_row_says_what_the_event_said_and_what_it_counted_for(expected: list[Row]) -> None:
    last = expected[-1]
    assert (last["customer"], last["kind"], last["source"], last["id"]) == (
        "ann",
        "social_post",
        "/shop",
        "e900",
    )
    assert (last["sentiment"], last["hashtags"], last["likes"], last["lang"]) == (-0.6, ["late"], 12, "en")
    assert (last["effort"], last["mood"], last["flags"], last["level_after"]) == (0, 0, 0, "none")
    assert 0 < last["probability_after"] < 1
    assert last["model"].startswith("default")
    assert last["time"] == START + timedelta(minutes=20 * 900)
    assert {row["level_after"] for row in expected} == set(LEVELS)
    assert not any("a secret" in str(value) for value in last.values())
    assert [row["offset"] for row in expected] == sorted({row["offset"] for row in expected})


@pytest.mark.parametrize("column", [column for column in COLUMNS if column.data], ids=lambda each: each.name)
def test_a_column_of_data_is_the_field(expected: list[Row], column: Any) -> None:
    said = {each["id"]: each["data"].get(column.name) for each in EVENTS}
    assert [row[column.name] for row in expected] == [said[row["id"]] for row in expected]


def test_amounts_are_in_the_base_currency_by_the_rates_of_the_rules() -> None:
    params = ScoringParams.model_validate({"base_currency": "PLN", "rates": {"EUR": 4.25}})
    amounts = [("PLN", 10), ("EUR", 10), ("USD", 10), ("EUR", 1.7e308)]
    events = [
        event(i, "ann", Kind.purchase, i, currency=currency, amount=amount)
        for i, (currency, amount) in enumerate(amounts)
    ] + [event(9, "ann", Kind.cart_abandoned, 9, currency="EUR", amount=2), event(10, "ann", Kind.click, 10)]
    outcome = Router(params, ACTIONS, scored=True).process([json.dumps(each).encode() for each in events])
    assert [row["amount_base"] for row in rows_of(outcome)] == [10, 42.5, None, 1e18, 8.5, None]


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("size", [1, 50, 2000])
def test_rows_of_several_partitions_are_in_the_order_of_the_records(size: int, partitions: int) -> None:
    values = [json.dumps(each).encode() for each in EVENTS[:300]]
    whole = rows_of(Router(ScoringParams(), ACTIONS, partitions=partitions, scored=True).process(values))
    router, rows = Router(ScoringParams(), ACTIONS, partitions=partitions, scored=True), []
    for begin in range(0, len(values), size):
        rows += rows_of(router.process(values[begin : begin + size]))
    assert rows == whole
    assert {row["partition"] for row in rows} == set(range(partitions))
    order = {each["id"]: i for i, each in reversed([*enumerate(EVENTS)])}
    assert [order[row["id"]] for row in rows] == sorted(order[row["id"]] for row in rows)


def test_a_record_of_the_topic_holds_the_rows(expected: list[Row]) -> None:
    outcome = Router(ScoringParams(), ACTIONS, scored=True).process(
        [json.dumps(each).encode() for each in EVENTS]
    )
    assert outcome.scored is not None
    table = decode(encode(record_batch(outcome.scored)))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.schema.metadata == {b"name": b"cxstream.scored", b"version": b"1"}
    assert table.to_pylist() == expected


def test_an_erased_customer_gets_no_row_after_the_request(tmp_path: Path) -> None:
    events = [event(1, "ann", Kind.error, 0), event(2, "bob", Kind.error, 1)]
    forget = {"specversion": "1.0", "id": "f", "source": "/dpo", "type": "cx.forget.v1", "subject": "ann"}
    events += [forget | {"time": (START + timedelta(minutes=10)).isoformat()}]
    events += [event(3, "ann", Kind.error, 5), event(4, "bob", Kind.error, 6)]
    path = tmp_path / "s.parquet"
    assert (
        run(write(tmp_path / "in.ndjson", events), "--out", tmp_path / "out", "--scored", path).exit_code == 0
    )
    assert [row["id"] for row in read(path).to_pylist()] == ["e1", "e2", "e4"]


def test_customers_are_pseudonyms_where_the_results_have_them(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXSTREAM_PRIVACY__KEY", "sixteen bytes or more")
    path = tmp_path / "s.arrow"
    assert run(source, "--out", tmp_path / "out", "--scored", path).exit_code == 0
    cards = (tmp_path / "out" / "scores.ndjson").read_text().splitlines()
    assert set(read(path)["customer"].to_pylist()) == {json.loads(card)["subject"] for card in cards}
    assert b"kunde" not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("s.csv", "not a format for scored touchpoints; name a file that ends in .arrow, .arrows, .parquet"),
        ("-", "not a format"),
        ("there.parquet", "exists already; name another file, or replace it with --force"),
        ("folder.parquet", "is not a file"),
        ("no/s.parquet", "there is no folder"),
        ("in.parquet", "is an input"),
    ],
)
def test_a_path_that_will_not_do_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "there.parquet").write_text("mine")
    source = write(tmp_path / "in.parquet", EVENTS[:3])
    path = name if name == "-" else tmp_path / name
    with pytest.raises(OutputError, match=says):
        run(source, "--out", tmp_path / "out", "--scored", path)
    assert (tmp_path / "there.parquet").read_text() == "mine"
    assert not list(tmp_path.rglob("*.partial"))


def test_force_replaces_the_file_and_its_folder_may_be_that_of_the_results(
    source: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out" / "scored.parquet"
    assert run(source, "--out", path.parent, "--scored", path).exit_code == 0
    before = read(path).to_pylist()
    assert run(source, "--out", path.parent, "--scored", path, "--force").exit_code == 0
    assert read(path).to_pylist() == before


def test_a_file_without_an_accepted_event_has_the_columns(tmp_path: Path) -> None:
    path, source = tmp_path / "s.arrow", tmp_path / "in.ndjson"
    source.write_text("no json\n")
    run(source, "--out", tmp_path / "out", "--scored", path)
    assert (len(read(path)), read(path).column_names[0]) == (0, "partition")


def test_a_replay_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Outcome:
        raise OutputError("no")

    monkeypatch.setattr(Router, "process", fails)
    source = write(tmp_path / "in.ndjson", EVENTS[:3])
    with pytest.raises(OutputError):
        run(source, "--out", tmp_path / "out", "--scored", tmp_path / "s.parquet")
    assert [each.name for each in tmp_path.iterdir()] == ["in.ndjson"]


def test_a_replay_that_begins_again_writes_each_row_once(
    source: Path, expected: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, calls = Router.process, 0

    def fails_once(router: Router, *args: Any, **more: Any) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RoutedError(0, 0, BatchError(0, 5, ValueError("no")))
        return process(router, *args, **more)

    monkeypatch.setattr(Router, "process", fails_once)
    path = tmp_path / "s.arrow"
    done = run(source, "--out", tmp_path / "out", "--scored", path, "--batch-bytes", 50_000)
    assert done.exit_code == 0
    assert read(path).to_pylist() == expected
