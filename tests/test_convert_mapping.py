"""The mapping file: each key does what docs/convert.md says, and what is wrong is told by name."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cxstream.convert import mapping as mapping_file
from cxstream.convert.mapping import load
from cxstream.convert.report import Problem, Report
from cxstream.convert.rules import drafts
from cxstream.convert.run import write
from cxstream.convert.values import ATTRIBUTE_TYPES
from cxstream.model.errors import InputError
from cxstream.model.fields import Data
from validity import validate

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent

BASE = """
[defaults]
source = "t"
subject = { column = "who" }
time = { column = "at", zone = "UTC" }
data = { channel = "web" }
"""


class Converted:
    """What came of a conversion."""

    def __init__(
        self, folder: Path, mapping: str, data: str | bytes, name: str, *, in_order: bool = False
    ) -> None:
        (folder / "m.toml").write_text(mapping, "utf-8")
        path = folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        self.problems: list[Problem] = []
        self.report = Report(self.problems.append)
        out = io.BytesIO()
        write(drafts([path], [load(folder / "m.toml")], self.report), out, self.report, in_order=in_order)
        self.lines = out.getvalue().splitlines()
        self.events: list[dict[str, Any]] = [msgspec.json.decode(line) for line in self.lines]
        assert all(validate(line) is None for line in self.lines)

    @property
    def data(self) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events]

    @property
    def told(self) -> list[tuple[int, str, str]]:
        return [(problem.line, problem.field, problem.reason) for problem in self.problems]


Convert = "Callable[..., Converted]"


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Converted]:
    def run(mapping: str, data: str | bytes, name: str = "in.csv", **options: Any) -> Converted:
        return Converted(tmp_path, mapping, data, name, **options)

    return run


def value_of(
    convert: Callable[..., Converted], spec: str, cell: str, *, top: str = "", attribute: str = "x1"
) -> Any:
    """What a CSV cell becomes under a value spec: the value, "absent", or the reason that it cannot."""
    inside = ", ".join(part for part in ('column = "v"', spec) if part)
    mapping = f'{top}{BASE}\n[[event]]\nkind = "click"\n[event.data]\n{attribute} = {{ {inside} }}\n'
    found = convert(mapping, f'who,at,v\na,2026-01-01,"{cell}"\n')
    return found.data[0].get(attribute, "absent") if found.events else found.problems[0].reason


def test_a_whole_mapping(convert: Callable[..., Converted]) -> None:
    mapping = """
        [input]
        delimiter = ";"
        encoding = "cp1250"
        decimal = ","
        thousands = "."
        [[skip]]
        when = { status = "test" }
        reason = "test orders"
        [[event]]
        kind = "purchase"
        when = { status = ["paid", "sent"] }
        id = { template = "order-{order}" }
        source = "shop/orders"
        subject = { column = "customer" }
        time = { template = "{day} {hour}", format = "%d.%m.%Y %H:%M", zone = "Europe/Warsaw" }
        [event.data]
        channel = { column = "till", map = { "1" = "store", "2" = "web" }, otherwise = "app" }
        amount = { column = "total" }
        currency = "PLN"
        location = { column = "town" }
    """
    data = (
        "order;customer;day;hour;status;till;total;town\n"
        "7;anna;2.07.2026;9:30;paid;1;1.234,50;Łódź\n"
        "8;anna;2.07.2026;9:31;test;1;1,00;\n"
        "9; jan ;2.01.2026;23:59;sent;3;2;\n"
    ).encode("cp1250")
    found = convert(mapping, data)
    assert found.events == [
        {
            "specversion": "1.0",
            "id": "order-7",
            "source": "shop/orders",
            "type": "cx.touchpoint.purchase.v1",
            "subject": "anna",
            "time": "2026-07-02T07:30:00.000Z",
            "data": {"currency": "PLN", "channel": "store", "amount": 1234.5, "location": "Łódź"},
        },
        {
            "specversion": "1.0",
            "id": "order-9",
            "source": "shop/orders",
            "type": "cx.touchpoint.purchase.v1",
            "subject": "jan",
            "time": "2026-01-02T22:59:00.000Z",
            "data": {"currency": "PLN", "channel": "app", "amount": 2},
        },
    ]
    assert found.report.skipped == {"test orders": 1}
    assert found.report.events == {"purchase": 2}
    assert not found.problems


@pytest.mark.parametrize(
    ("spec", "cell", "expected"),
    [
        ("", " text ", "text"),
        ("", "", "absent"),
        ('default = "none"', "", "none"),
        ("required = true", "", "missing"),
        ('type = "number"', "12", 12),
        ('type = "number"', "-12.50", -12.5),
        ('type = "number"', "1e3", 1000),
        ('type = "number"', "twelve", "unreadable_number"),
        ('type = "number"', "1_000", "unreadable_number"),
        ('type = "number"', "nan", "unreadable_number"),
        ('type = "number"', "1e999", "unreadable_number"),
        ('type = "number", divide = 100', "1999", 19.99),
        ('type = "number", multiply = 60', "1.5", 90),
        ('type = "number", multiply = -1', "-3", 3),
        ('type = "flag"', "Yes", True),
        ('type = "flag"', "0", False),
        ('type = "flag"', "maybe", "unreadable_flag"),
        ('type = "list"', "a b  c", ["a", "b", "c"]),
        ('type = "list", separator = ","', "a b, c", ["a b", "c"]),
        ('map = { a = "x", b = 2 }', "a", "x"),
        ('map = { a = "x", b = 2 }', "b", 2),
        ('map = { a = "x" }', "c", "unmapped_value"),
        ('map = { "N/A" = 0 }, type = "number"', "N/A", 0),
        ('map = { "N/A" = 0 }, type = "number"', "205", 205),
        ('map = { "N/A" = 0 }, type = "number", divide = 10', "205", 20.5),
        ('map = { "N/A" = 0 }, type = "number"', "soon", "unreadable_number"),
        ('map = { "N/A" = 0 }, type = "number", otherwise = 1', "205", 1),
        ('map = { "1" = 5, "N/A" = 0 }, type = "number"', "2", "unmapped_value"),
        ('map = { no = 0 }, type = "duration"', "3:25", 205),
        ('type = "duration", divide = 60', "3:30", 3.5),
        ('type = "duration"', "3:75", "unreadable_duration"),
        ("", "N/A", "absent"),
        ('default = "d"', r"\N", "d"),
        ("required = true", "(blank)", "missing"),
        ('empty = ["x", -1]', "N/A", "N/A"),
        ('empty = ["x", -1]', "x", "absent"),
        ('empty = ["x", -1]', "-1", "absent"),
        ("empty = []", "-", "-"),
        ('type = "number"', "-", "absent"),
        ('type = "number"', "1,5", "unreadable_number"),
        ('type = "number"', "inf", "unreadable_number"),
        ('map = { a = "x" }, otherwise = false', "c", False),
        ('map = { a = "x" }, default = "d"', "", "d"),
    ],
)
def test_values(convert: Callable[..., Converted], spec: str, cell: str, expected: Any) -> None:
    found = value_of(convert, spec, cell)
    assert found == expected
    assert type(found) is type(expected)


def test_numbers_are_written_as_the_input_writes_them(convert: Callable[..., Converted]) -> None:
    top = '[input]\ndecimal = ","\nthousands = " "\n'
    assert value_of(convert, 'type = "number"', "1 234 567,8", top=top) == 1234567.8


@pytest.mark.parametrize(
    ("attribute", "cell", "expected"),
    [("wait_s", "90", 90), ("resolved", "no", False), ("hashtags", "late refund", ["late", "refund"]), ("topic", "5", "5")],
)  # fmt: skip
def test_the_contract_says_the_type(
    convert: Callable[..., Converted], attribute: str, cell: str, expected: Any
) -> None:
    assert value_of(convert, "", cell, attribute=attribute) == expected


def test_each_attribute_of_the_contract_has_a_type() -> None:
    assert set(ATTRIBUTE_TYPES) == {field.encode_name for field in msgspec.structs.fields(Data)}
    assert {name for name, kind in ATTRIBUTE_TYPES.items() if kind == "flag"} == {"resolved", "abandoned"}
    assert {name for name, kind in ATTRIBUTE_TYPES.items() if kind == "list"} == {"hashtags"}
    assert {"wait_s", "amount", "x", "score", "sentiment", "likes"} <= {
        name for name, kind in ATTRIBUTE_TYPES.items() if kind == "number"
    }


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ('"b"', "b"),
        ('["b", "c"]', "bc"),
        ("{ present = true }", "bc57"),
        ("{ present = false }", "-"),
        ('{ not = "b" }', "-c57"),
        ('{ not = ["b", ""] }', "c57"),
        ("{ above = 5 }", "7"),
        ("{ at_least = 5 }", "57"),
        ("{ below = 7 }", "5"),
        ("{ at_least = 5, at_most = 5 }", "5"),
        ("5", "5"),
    ],
)
def test_conditions(convert: Callable[..., Converted], condition: str, taken: str) -> None:
    mapping = f'{BASE}\n[[event]]\nkind = "click"\nwhen = {{ v = {condition} }}\ndata = {{ topic = {{ column = "n", empty = [] }} }}\n'
    found = convert(
        mapping, "who,at,v,n\n" + "".join(f"a,2026-01-01,{'' if c == '-' else c},{c}\n" for c in "bc57-")
    )
    assert {data["topic"] for data in found.data} == set(taken)
    assert [line for line, _, _ in found.told] == [n for n, c in enumerate("bc57-", 2) if c not in taken]
    assert {reason for _, _, reason in found.told} <= {"unmapped_row"}


def test_a_row_can_give_several_events_and_rules_keep_their_order(
    tmp_path: Path, convert: Callable[..., Converted]
) -> None:
    mapping = (
        BASE
        + """
        [[event]]
        kind = "page_view"
        when = { v = "a" }
        [[event]]
        kind = "click"
        [[event]]
        kind = "search"
        when = { v = ["a", "b"] }
    """
    )
    found = convert(mapping, "who,at,v\nx,2026-01-01,a\nx,2026-01-01,b\nx,2026-01-01,c\n")
    kinds = [
        (event["id"].removeprefix(f"{tmp_path}/"), event["type"].split(".")[2]) for event in found.events
    ]
    assert kinds == [
        ("in.csv:2", "page_view"), ("in.csv:2:2", "click"), ("in.csv:2:3", "search"),
        ("in.csv:3:2", "click"), ("in.csv:3:3", "search"),
        ("in.csv:4:2", "click"),
    ]  # fmt: skip


def test_a_row_that_is_left_out_is_not_looked_at(convert: Callable[..., Converted]) -> None:
    mapping = BASE + EVENT + '[[skip]]\nwhen = { at = "" }\nreason = "never happened"\n'
    found = convert(mapping, "who,at\na,\na,2026-01-01\n")
    assert len(found.events) == 1
    assert found.report.skipped == {"never happened": 1}
    assert not found.problems


def test_columns_of_json_are_paths(convert: Callable[..., Converted]) -> None:
    mapping = """
        [[event]]
        kind = "survey_nps"
        when = { "answer.kind" = "nps", done = true }
        source = { column = "app.name" }
        subject = { columns = ["user.id", "user.email"] }
        time = { column = "at", format = "epoch_ms" }
        data = { channel = "web", score = { column = "answer.value" }, hashtags = { column = "tags" } }
    """
    lines = [
        '{"answer":{"kind":"nps","value":9},"done":true,"app":{"name":"x"},"user":{"id":17},"at":1772439245123,"tags":["a"]}',
        '{"answer":{"kind":"nps","value":"3"},"done":true,"app":{"name":"x"},"user":{"email":"e"},"at":1772439245123}',
        '{"answer":{"kind":"nps","value":11},"done":true,"app":{"name":"x"},"user":{"id":1},"at":1772439245123}',
        '{"answer":{"kind":"nps","value":{}},"done":true,"app":{"name":"x"},"user":{"id":1},"at":1772439245123}',
        '{"answer":"nps","done":true}',
        '{"answer":{"kind":"nps","value":1},"done":true,"app":{"name":"x"},"user":null,"at":1772439245123}',
    ]
    found = convert(mapping, "\n".join(lines), "in.jsonl")
    assert [(event["subject"], event["data"]["score"]) for event in found.events] == [("17", 9), ("e", 3)]
    assert found.data[0]["hashtags"] == ["a"]
    assert found.told == [
        (4, "answer.value", "unreadable_number"),
        (5, "answer.kind", "unmapped_row"),
        (6, "subject", "missing"),
        (3, "data.score", "invalid"),
    ]


def test_the_decoder_has_the_last_word(convert: Callable[..., Converted]) -> None:
    mapping = (
        BASE
        + '[[event]]\nkind = "purchase"\n[event.data]\namount = { column = "v" }\ncurrency = { column = "c" }\n'
    )
    found = convert(
        mapping,
        "who,at,v,c\na,2026-01-01,5,EUR\na,2026-01-01,-5,EUR\na,2026-01-01,5,euro\n"
        + "b" * 129
        + ",2026-01-01,5,EUR\n",
    )
    assert len(found.events) == 1
    assert found.told == [
        (3, "data.amount", "invalid"),
        (4, "data.currency", "invalid"),
        (5, "subject", "invalid"),
    ]


def test_bytes_that_are_no_text_cost_their_row_where_they_are_used(convert: Callable[..., Converted]) -> None:
    mapping = BASE + '[[event]]\nkind = "click"\n[event.data]\ntopic = { column = "v" }\n'
    found = convert(mapping, b"who,at,v,unused\na,2026-01-01,\xff,x\na,2026-01-01,ok,\xff\n")
    assert found.told == [(2, "", "encoding")]
    assert [data["topic"] for data in found.data] == ["ok"]


def test_sorting_keeps_the_order_of_equal_times(convert: Callable[..., Converted]) -> None:
    mapping = BASE + '[[event]]\nkind = "click"\n[event.data]\ntopic = { column = "v" }\n'
    data = "who,at,v\na,2026-01-02,1\na,2026-01-01,2\na,2026-01-02,3\na,2026-01-01,4\n"
    assert [d["topic"] for d in convert(mapping, data, in_order=True).data] == ["2", "4", "1", "3"]
    assert [d["topic"] for d in convert(mapping, data).data] == ["1", "2", "3", "4"]


EVENT = '[[event]]\nkind = "click"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[event]", "m.toml: "),
        ("", "there is no [[event]]"),
        (EVENT, "event 1 (click): source is missing"),
        (BASE + '[[event]]\nkind = "clik"\n', "event 1: kind: 'clik' is no kind; did you mean click?"),
        (BASE + EVENT + "wen = {}\n", "unknown field `wen`"),
        (BASE + EVENT + "data = { topic = { column = 5 } }\n", "$.event[0].data"),
        (BASE + EVENT + 'data = { topic = { column = "a", template = "b" } }\n', "exactly one of column"),
        (BASE + EVENT + 'data = { topic = { map = { a = "b" } } }\n', "exactly one of column"),
        (BASE + EVENT + 'data = { topic = { column = "a", otherwise = "b" } }\n', "there is no map"),
        (BASE + EVENT + 'data = { topic = { column = "a", default = 1, required = true } }\n', "never empty"),
        ('[input]\ndelimiter = ";;"\n' + BASE + EVENT, "$.input.delimiter"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ("who,when\n", "in.csv", "no column 'at'"),
        ("who,at\n", "in.dat", "input.format"),
        ("who,at\n", "in", "input.format"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    convert: Callable[..., Converted], data: str, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        convert(BASE + EVENT, data, name)


def test_a_template_with_a_stray_brace_is_refused(convert: Callable[..., Converted]) -> None:
    with pytest.raises(InputError, match=r"write {{ and }}"):
        convert(BASE + EVENT + 'id = { template = "{who" }\n', "who,at\na,2026-01-01\n")


def test_every_key_of_a_mapping_is_documented() -> None:
    text = (ROOT / "docs" / "convert.md").read_text("utf-8")
    structs = [
        item
        for item in vars(mapping_file).values()
        if isinstance(item, type) and issubclass(item, msgspec.Struct)
    ]
    keys = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
    assert len(keys) > 30
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def test_every_mapping_in_the_documentation_loads(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "convert.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) > 5
    for block in blocks:
        whole = block if "[[event]]" in block and "[defaults]" in block else None
        path = tmp_path / "m.toml"
        path.write_text(whole or _completed(block), "utf-8")
        load(path)


def _completed(block: str) -> str:
    """A fragment of a mapping with what it leaves to the reader."""
    parts = [block]
    if "[[event]]" not in block and "[event." not in block:
        parts.append('[[event]]\nkind = "click"\n')
    elif "[[event]]" not in block:
        parts.insert(0, '[[event]]\nkind = "click"\n')
    if "[defaults]" not in block:
        parts.append(BASE)
    return "\n".join(parts)
