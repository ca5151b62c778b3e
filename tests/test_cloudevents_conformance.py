"""The Kafka protocol binding of CloudEvents: its own conformance feature, and the cases it leaves out."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest

from cxstream.model.cloudevents import CloudEventError, is_binary, remark, structured
from cxstream.scoring.codec.decode import INVALID, MALFORMED, decode
from cxstream.scoring.codec.signatures import canonical

FEATURE = (
    Path(__file__).resolve().parents[2]
    / "shared/data/suites/cloudevents-conformance/features/kafka-protocol-binding.feature"
)
KEYWORDS = ("Given", "When", "Then", "And")


def read(headers, value):
    """Attributes and data of a record, from the structured event that every reader of records decodes."""
    event = json.loads(structured(headers, value))
    data = event.pop("data", None)
    if "data_base64" in event:
        data = base64.b64decode(event.pop("data_base64"), validate=True)
    return event, data


# --- the published feature


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def scenarios(text: str):  # noqa: C901 - a parser is one loop over its lines
    """The scenarios of a feature as (name, steps); a step is (sentence, doc string, table)."""
    found, steps, examples, inside = [], None, None, None
    for line in text.splitlines():
        bare = line.strip()
        if inside is not None:
            if bare == '"""':
                steps[-1][1] = "\n".join(inside)
                inside = None
            else:
                inside.append(line)
        elif bare == '"""':
            inside = []
        elif bare.startswith(("Scenario", "Background")):
            steps, examples = [], None
            found.append((bare.partition(":")[2].strip(), steps, []))
        elif bare.startswith("Examples:"):
            examples = found[-1][2]
        elif bare.startswith("|"):
            (examples if examples is not None else steps[-1][2]).append(cells(bare))
        elif bare.split(" ")[0] in KEYWORDS and steps is not None:
            steps.append([bare.partition(" ")[2], "", []])
    for name, parts, rows in found:
        if not rows:
            yield name, parts
        for row in rows[1:]:
            fill = dict(zip((f"<{c}>" for c in rows[0]), row, strict=True))
            yield (
                replaced(name, fill),
                [
                    (replaced(s, fill), replaced(d, fill), [[replaced(c, fill) for c in r] for r in t])
                    for s, d, t in parts
                ],
            )


def replaced(text: str, fill: dict[str, str]) -> str:
    for mark, value in fill.items():
        text = text.replace(mark, value)
    return text


def rows(table) -> dict[str, str]:
    assert table[0] == ["key", "value"]
    return {row[0]: row[1] for row in table[1:]}


def published():
    if not FEATURE.is_file():
        reason = "the CloudEvents conformance suite is not beside this checkout"
        return [pytest.param([], id="feature", marks=pytest.mark.skip(reason=reason))]
    return [
        pytest.param(steps, id=name)
        for name, steps in scenarios(FEATURE.read_text())
        if any(sentence.startswith("parsed") for sentence, *_ in steps)
    ]


@pytest.mark.parametrize("steps", published())
def test_published_scenario(steps):
    payload, headers, event, checked = b"", [], None, 0
    for sentence, doc, table in steps:
        match sentence.rstrip(":"):
            case "a Kafka message with payload":
                payload = doc.encode()
            case "Kafka headers":
                headers = [(name, value.encode()) for name, value in rows(table).items()]
            case "parsed as Kafka message":
                event = read(headers, payload)
            case "the attributes are":
                assert event[0] == rows(table)
                checked += 1
            case "the data is equal to the following JSON":
                assert event[1] == json.loads(doc)
                checked += 1
            case _:
                pytest.fail(f"a step without a meaning: {sentence}")
    assert checked == 2


@pytest.mark.skipif(
    not FEATURE.is_file(), reason="the CloudEvents conformance suite is not beside this checkout"
)
def test_the_feature_has_all_its_scenarios():
    assert len(published()) == 3


# --- the same, and more, in our own words

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "42",
    "source": "/shop",
    "type": "cx.touchpoint.search.v1",
    "subject": "zoë",
    "time": "2026-03-01T10:00:00Z",
}
DATA = {"channel": "web", "touchpoint": "żurek"}
HEADERS = [(f"ce_{name}", value.encode()) for name, value in ATTRIBUTES.items()]
EVENT = json.dumps({**ATTRIBUTES, "data": DATA}).encode()


def content(kind: str):
    return ("content-type", kind.encode())


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.shop+json",
        "text/json",
    ],
)
def test_binary_mode(kind):
    headers, value = [*HEADERS, content(kind)], json.dumps(DATA).encode()
    assert read(headers, value) == ({**ATTRIBUTES, "datacontenttype": kind}, DATA)
    assert not decode([value], [headers]).rejected


@pytest.mark.parametrize(
    "headers",
    [
        [content("application/cloudevents+json")],
        [content("application/cloudevents+json; charset=UTF-8")],
        [content("Application/CloudEvents+JSON;charset=utf-8")],
        [("Content-Type", b"application/cloudevents+json")],
        [],
        [("traceparent", b"\xff\x00")],
    ],
)
def test_structured_mode(headers):
    assert read(headers, EVENT) == (ATTRIBUTES, DATA)
    assert structured(headers, EVENT) == EVENT
    assert not decode([EVENT], [headers]).rejected


def test_headers_without_a_content_type_are_binary_mode():
    assert read(HEADERS, json.dumps(DATA).encode()) == (ATTRIBUTES, DATA)
    assert is_binary(HEADERS)
    assert not is_binary([])


@pytest.mark.parametrize(
    "null",
    ["content-type", "Content-Type", "ce_id", "ce_dataschema", "ce_specversion", "ce_", "ce-id", "trace"],
)
def test_a_null_header_is_an_absent_one(null):
    data = json.dumps(DATA).encode()
    for headers, value in (([], EVENT), (HEADERS, data), ([*HEADERS, content("application/json")], data)):
        for with_null in ([(null, None), *headers], [*headers, (null, None)]):
            assert is_binary(with_null) == is_binary(headers)
            assert read(with_null, value) == read(headers, value)
            assert structured(with_null, value) == structured(headers, value)
            assert remark(with_null) == ""


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "application/avro", "x"]
)
def test_a_remark_says_that_a_value_without_ce_headers_was_taken_as_data(kind):
    said = remark([content(kind), ("trace", b"1"), ("ce_id", None)])
    assert f"taken as `data` (binary mode), because content-type is {kind!r}" in said
    assert "application/cloudevents+json, or no content-type" in said


@pytest.mark.parametrize("name", ["ce-id", "CE_ID", "Ce-Id", "CE-id", "ce_ID"])
def test_a_remark_names_headers_that_were_meant_as_attributes(name):
    assert f"not read: {name}; in Kafka" in remark([(name, b"42")])
    assert name in remark([*HEADERS, (name, b"42"), ("trace", b"1")])


@pytest.mark.parametrize("name", ["ce_id", "cement-type", "ceid", "trace", "CElsius"])
def test_other_headers_need_no_remark(name):
    assert remark([*HEADERS, (name, b"42"), content("application/json")]) == ""


def test_a_remark_says_that_data_is_not_json():
    assert "`data` is not read, because content-type is 'avro/binary'" in remark(
        [*HEADERS, content("avro/binary")]
    )


def test_structured_mode_wins_over_stray_headers():
    headers = [("ce_id", b"other"), content("application/cloudevents+json")]
    assert read(headers, EVENT) == (ATTRIBUTES, DATA)
    assert decode([EVENT], [headers]).events[0].id == "42"


def test_data_of_other_types_is_handed_on():
    assert read([*HEADERS, content("text/plain")], b"\xff{")[1] == b"\xff{"
    assert read([*HEADERS, content("application/json")], None)[1] is None
    encoded = json.dumps({**ATTRIBUTES, "data_base64": "AAEC"}).encode()
    assert read([], encoded)[1] == b"\x00\x01\x02"


def test_extensions_take_their_canonical_form():
    event = json.dumps({**ATTRIBUTES, "sampled": True, "hops": 3, "data": DATA}).encode()
    extended, value = [*HEADERS, ("ce_sampled", b"true"), ("ce_hops", b"3")], json.dumps(DATA).encode()
    assert read(extended, value)[0] == {**ATTRIBUTES, "sampled": "true", "hops": "3"}
    both = [canonical(json.loads(structured(*each))) for each in (([], event), (extended, value))]
    assert both[0] == both[1]
    assert json.loads(both[0]) == {**ATTRIBUTES, "sampled": "true", "hops": "3", "data": DATA}


def without(name, **others):
    return json.dumps(
        {key: value for key, value in json.loads(EVENT).items() if key != name} | others
    ).encode()


@pytest.mark.parametrize(
    ("headers", "value", "reason", "field"),
    [
        ([], None, MALFORMED, ""),
        ([], b"[]", MALFORMED, ""),
        ([], b'{"specversion":"1.0"', MALFORMED, ""),
        ([], b"[" * 100_000, MALFORMED, ""),
        ([], without("specversion"), INVALID, "specversion"),
        ([], without("specversion", specversion=1.5), INVALID, "specversion"),
        ([], without("data", data_base64="?"), INVALID, "data"),
        ([each for each in HEADERS if each[0] != "ce_specversion"], None, MALFORMED, ""),
        (
            [*(each for each in HEADERS if each[0] != "ce_specversion"), content("application/json")],
            json.dumps(DATA).encode(),
            INVALID,
            "specversion",
        ),
    ],
)
def test_what_is_no_cloudevent_is_rejected_by_its_field(headers, value, reason, field):
    [rejected] = decode([value], [headers]).rejected
    assert (rejected.reason, rejected.field) == (reason, field)


@pytest.mark.parametrize(
    ("headers", "value", "field"),
    [
        ([*HEADERS, content("application/json")], b'{"channel":', "data"),
        ([*HEADERS, content("application/json")], b"[" * 100_000, "data"),
        ([*HEADERS, ("ce_id", b"\xff")], b"{}", "ce_id"),
        ([content("application/cloudevents+avro")], b"{}", "content-type"),
        ([content("application/cloudevents-batch+json")], b"[]", "content-type"),
    ],
)
def test_headers_and_data_that_make_up_no_cloudevent_are_named(headers, value, field):
    with pytest.raises(CloudEventError) as caught:
        structured(headers, value)
    assert caught.value.field == field
    [rejected] = decode([value], [headers]).rejected
    assert (rejected.reason, rejected.message.partition(":")[0]) == (MALFORMED, field)


def test_binary_mode_becomes_the_structured_event():
    event = structured([*HEADERS, content("application/json")], json.dumps(DATA).encode())
    assert json.loads(event) == {**ATTRIBUTES, "datacontenttype": "application/json", "data": DATA}
    assert json.loads(structured(HEADERS, None)) == ATTRIBUTES
    assert json.loads(structured([*HEADERS, content("text/plain")], b"\x00"))["data_base64"] == "AA=="


def test_numbers_and_repeated_names_in_data_are_carried_over_as_they_are():
    data = b'{"x":1e400,"y":0.10,"channel":"web","channel":"app"}'
    assert b'"data":' + data in structured(HEADERS, data)


@pytest.mark.parametrize("value", [b'{},"subject":"eve"', b'{}}{"a":{}', b"", b"{}\n{}", b"\xff"])
def test_a_value_cannot_break_out_of_data(value):
    with pytest.raises(CloudEventError) as caught:
        structured(HEADERS, value)
    assert caught.value.field == "data"


def test_a_header_called_data_is_not_data():
    assert json.loads(structured([*HEADERS, ("ce_data", b"x")], b"{}"))["data"] == {}
    assert "data" not in msgspec.json.decode(structured([*HEADERS, ("ce_data", b"x")], None))
