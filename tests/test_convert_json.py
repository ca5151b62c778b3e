"""JSON of any layout, paths into it, and Parquet, by a mapping."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from cxstream.cli import group
from cxstream.convert.mapping import load
from cxstream.convert.paths import PathSurvey, json_columns, parsed, written
from cxstream.convert.records import OPENED
from cxstream.convert.report import Problem, Report
from cxstream.convert.rules import drafts
from cxstream.convert.run import write
from cxstream.model.errors import InputError

CASES = Path(__file__).parent / "cases" / "json-shapes"
MAPPING = """
[[event]]
kind = "contact"
source = "desk"
subject = { column = "user.id" }
time = { column = "at" }
data = { channel = "email" }
"""
RECORDS = [{"user": {"id": number}, "at": "2025-01-05T10:00:00Z", "tags": [{"a": 1}]} for number in (1, 2, 3)]


class Converted:
    """What came of some inputs."""

    def __init__(self, mapping: Path, *inputs: Path) -> None:
        self.problems: list[Problem] = []
        self.report = Report(self.problems.append)
        out = io.BytesIO()
        write(drafts(inputs, [load(mapping)], self.report), out, self.report, in_order=False)
        self.events = [json.loads(line) for line in out.getvalue().splitlines()]
        self.hints = list(self.report.hints())


def convert(folder: Path, name: str, data: str | bytes, mapping: str = MAPPING) -> Converted:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    (folder / "m.toml").write_text(mapping, "utf-8")
    return Converted(folder / "m.toml", folder / name)


@pytest.mark.parametrize("name", ["in.ndjson", "array.json", "pretty.json", "envelope.json"])
def test_a_path_that_is_in_no_record_is_told_with_a_near_one(name: str, tmp_path: Path) -> None:
    options = ["--mapping", str(CASES / "m.toml"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(group, ["convert", "mapping", str(CASES / name), *options])
    assert result.exit_code == 0
    assert (
        "hint: custom_fields.360.value was found in no record; did you mean custom_fields[id=360].value?"
        in result.stderr
    )
    assert "hint: assignee.nmae was found in no record; did you mean assignee.name?" in result.stderr
    assert "metrics.wait" not in result.stderr
    events = [json.loads(line) for line in (tmp_path / "out").read_text("utf-8").splitlines()]
    assert [event["subject"] for event in events] == ["42", "43"]
    assert [event["data"]["wait_s"] for event in events] == [120, 120]
    assert [event["id"] for event in events] == [f"{CASES / name}:1", f"{CASES / name}:2"]


LAYOUTS = {
    "lines": "\n".join(map(json.dumps, RECORDS)),
    "array": json.dumps(RECORDS),
    "indented": json.dumps(RECORDS, indent=2),
    "objects": "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "sequence": "".join(f"\x1e{json.dumps(record)}\n" for record in RECORDS),
    "body": json.dumps({"batch": RECORDS, "sentAt": "2025-01-05T10:00:00Z"}),
    "page-of-an-api": json.dumps({"tickets": RECORDS, "next_page": None, "errors": []}, indent=1),
    "bodies": "\n".join(json.dumps({"batch": part}) for part in (RECORDS[:2], RECORDS[2:])),
    "lines-of-arrays": "\n".join(json.dumps(part) for part in (RECORDS[:2], RECORDS[2:])),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_every_layout_gives_the_same_events(tmp_path: Path, name: str, encoding: str) -> None:
    found = convert(tmp_path, f"{name}.json", LAYOUTS[name].encode(encoding))
    assert [event["subject"] for event in found.events] == ["1", "2", "3"]
    assert len({event["id"] for event in found.events}) == 3
    assert not found.problems
    assert sum(found.report.rows.values()) == 3
    assert not [hint for hint in found.hints if "found in no record" in hint]


@pytest.mark.parametrize("name", ["in.dat", "in", "in.txt"])
def test_json_is_told_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    assert len(convert(tmp_path, name, LAYOUTS["array"]).events) == 3


def test_an_object_with_a_list_that_is_no_envelope_is_one_record(tmp_path: Path) -> None:
    record = {**RECORDS[0], "items": [{"user": {"id": 9}}]}
    assert [event["subject"] for event in convert(tmp_path, "a.json", json.dumps(record)).events] == ["1"]
    two = {"a": RECORDS, "b": RECORDS}
    two_empty = {"a": [{"x": 1}], "b": [{"x": 1}]}
    assert len(convert(tmp_path, "c.json", json.dumps(two_empty)).problems) == 1
    assert [p.reason for p in convert(tmp_path, "b.json", json.dumps(two)).problems] == ["missing"]


@pytest.mark.parametrize(
    ("around", "name"),
    [
        ({"tickets": RECORDS, "users": [{"id": 1}], "groups": [{"id": 2}]}, "tickets"),
        ({"data": {"tickets": RECORDS}}, "data.tickets"),
        ({"data": {"tickets": {"nodes": RECORDS, "pageInfo": {"more": False}}}}, "data.tickets.nodes"),
    ],
)
def test_the_list_that_has_the_columns_of_the_mapping_is_opened(
    tmp_path: Path, around: dict[str, object], name: str
) -> None:
    found = convert(tmp_path, "a.json", json.dumps(around))
    assert [event["subject"] for event in found.events] == ["1", "2", "3"]
    assert found.report.notes[f"{OPENED} ({name})"] == 1


def test_a_path_within_the_items_of_a_list_is_told_with_the_way_to_them(tmp_path: Path) -> None:
    page = {"created_at": None, "at": None, "deep": {"er": {"pages": {"tickets": RECORDS}}}}
    hints = convert(tmp_path, "a.json", json.dumps(page)).hints
    assert any("jq -c '.deep.er.pages.tickets[]' makes them the records" in hint for hint in hints)


def test_json_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    (problem,) = convert(tmp_path, "a.ndjson", b'{"a": "jos\xe9"}\n').problems
    assert problem.message == "is not UTF-8 (byte 0xe9); convert the file with iconv first"


def test_ids_that_are_floats_and_too_large_to_be_exact_are_told(tmp_path: Path) -> None:
    lines = [json.dumps({**RECORDS[0], "user": {"id": number}}) for number in (2.0**53, 2**53, 1e22, 7.0)]
    found = convert(tmp_path, "a.ndjson", "\n".join(lines))
    assert [event["subject"] for event in found.events] == [
        "9007199254740992.0", "9007199254740992", "1e+22", "7",
    ]  # fmt: skip


def test_an_array_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"JSON ends early, within value 3 .* the file is cut off"):
        convert(tmp_path, "a.json", LAYOUTS["indented"][:-20])


def test_items_that_are_no_objects_are_problems(tmp_path: Path) -> None:
    found = convert(tmp_path, "a.json", json.dumps([1, RECORDS[0], "x", None]))
    assert [(p.line, p.reason) for p in found.problems] == [(1, "not_json"), (3, "not_json"), (4, "not_json")]
    assert len(found.events) == 1


RECORD = {
    "a": {"b": 1, "c.d": {"e": 2}},
    "a.b": 3,
    "flat.key": 4,
    "tags": ["x", "y"],
    "fields": [
        {"id": 360, "value": "invoice"},
        {"id": "361", "value": None},
        {"name": "a b", "value": {"z": 5}},
    ],
    "price [EUR]": 6,
    'quo"te': {"x": 7},
    "nothing": None,
    "empty": "",
    "e.f": {"g": 8},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 1),
        ('"a.b"', 3),
        ("flat.key", 4),
        ('a."c.d".e', 2),
        ("tags[0]", "x"),
        ("tags[-1]", "y"),
        ("tags[2]", None),
        ("tags[-3]", None),
        ("tags", ["x", "y"]),
        ("fields[id=360].value", "invoice"),
        ("fields[ id = 360 ].value", "invoice"),
        ('fields[name="a b"].value.z', 5),
        ("fields[name=a b].value.z", 5),
        ("fields[id=361].value", None),
        ("fields[id=9].value", None),
        ("fields[0].id", 360),
        ("price [EUR]", 6),
        ('"quo\\"te".x', 7),
        ('"e.f".g', 8),
        ("nothing", None),
        ("nothing.x", None),
        ("empty", None),
        ("a.b.c", None),
        ("a[0]", None),
        ("tags.x", None),
    ],
)
def test_paths(path: str, value: object) -> None:
    assert json_columns(path)(RECORD) == value
    assert PathSurvey().columns(path)(RECORD) == value


NAMES = st.text(st.sampled_from('ab."[]\\= 1'), min_size=1, max_size=4)
VALUES = st.recursive(
    st.integers(0, 3) | NAMES,
    lambda items: st.lists(items, max_size=3) | st.dictionaries(NAMES, items, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), st.data())
def test_every_value_has_a_path_of_quoted_names(record: dict[str, Any], data: st.DataObject) -> None:
    here: Any = record
    path = ""
    while True:
        if isinstance(here, dict) and here:
            name = data.draw(st.sampled_from(sorted(here)))
            quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
            path, here = f"{path}.{quoted}" if path else quoted, here[name]
        elif isinstance(here, list) and here:
            index = data.draw(st.integers(0, len(here) - 1))
            path, here = f"{path}[{index}]", here[index]
        else:
            break
    assert json_columns(path)(record) == here


def test_what_is_null_is_not_told_as_missing() -> None:
    survey = PathSurvey()
    for path in ("nothing", "empty", "fields[id=361].value", "tagz", "zzzzzzzz"):
        survey.columns(path)(RECORD)
    survey.columns("never asked")
    survey.sample(RECORD)
    tagz, other = survey.hints()
    assert tagz == "tagz was found in no record; did you mean tags?"
    assert other.startswith("zzzzzzzz was found in no record; there are a, a.b, ")


def test_a_survey_is_bounded() -> None:
    survey = PathSurvey()
    for number in range(2000):
        survey.sample({f"k{number}-{i}": [[i] * 50] * 50 for i in range(100)})
    assert len(survey._there) < 10_000
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    PathSurvey().sample(deep)


@pytest.mark.parametrize("text", ["a..b", ".a", "a.", "a[", "a[x]", "a[0]b", '"a', ""])
def test_what_is_no_path_is_a_name(text: str) -> None:
    assert parsed(text) == [text]
    assert json_columns(text)({text: 1}) == 1


def test_paths_in_templates_and_conditions(tmp_path: Path) -> None:
    mapping = MAPPING + (
        'topic = { template = "{tags[0].a}-{user.id}" }\n[[skip]]\nwhen = { "tags[0].a" = 2 }\nreason = "two"\n'
    ).replace("topic", "[event.data]\ntopic")
    mapping = mapping.replace('data = { channel = "email" }\n', "").replace(
        "topic", 'channel = "email"\ntopic', 1
    )
    records = [RECORDS[0], {**RECORDS[1], "tags": [{"a": 2}]}]
    found = convert(tmp_path, "in.json", json.dumps(records), mapping)
    assert [event["data"]["topic"] for event in found.events] == ["1-1"]
    assert found.report.skipped == {"two": 1}


def test_scalars_are_written_one_way() -> None:
    assert [written(value) for value in ("1", 1, 1.0, True, None, {})] == ["1", "1", "1", "true", None, None]


PARQUET = """
[[event]]
kind = "contact"
source = "desk"
subject = { column = "user.id" }
time = { column = "at", zone = "Europe/Berlin" }
[event.data]
channel = "email"
wait_s = { column = "payload.wait" }
topic = { column = "topics[0]" }
"""


def test_parquet_by_a_mapping(tmp_path: Path) -> None:
    local = dt.datetime(2025, 1, 5, 11, tzinfo=dt.UTC).replace(tzinfo=None)
    table = pa.table(
        {
            "user": [{"id": 42, "name": None}, {"id": 43, "name": "x"}],
            "at": pa.array([local, local], pa.timestamp("us")),
            "payload": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"wait":120}', None])),
            "topics": [["invoice"], []],
            "unused": [b"\xff", None],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    (tmp_path / "m.toml").write_text(PARQUET, "utf-8")
    found = Converted(tmp_path / "m.toml", tmp_path / "in.parquet")
    assert [(event["id"], event["subject"], event["time"]) for event in found.events] == [
        (f"{tmp_path}/in.parquet:1", "42", "2025-01-05T10:00:00.000Z"),
        (f"{tmp_path}/in.parquet:2", "43", "2025-01-05T10:00:00.000Z"),
    ]
    assert [event["data"] for event in found.events] == [
        {"channel": "email", "wait_s": 120, "topic": "invoice"},
        {"channel": "email"},
    ]
    assert found.report.rows == {str(tmp_path / "in.parquet"): 2}


def test_a_column_that_parquet_lacks_is_refused_before_the_first_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"usr": ["a"], "at": ["x"]}), tmp_path / "in.parquet")
    with pytest.raises(
        InputError, match=r"in\.parquet: no column 'user.id'; did you mean 'usr'|there are usr, at"
    ):
        convert(tmp_path, "in.parquet", (tmp_path / "in.parquet").read_bytes())
