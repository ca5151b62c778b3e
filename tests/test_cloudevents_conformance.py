"""The Kafka protocol binding of CloudEvents: its own conformance feature, and the cases it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from cxstream.model.cloudevents import CloudEventError, from_kafka, is_binary, remark, structured

FEATURE = (
    Path(__file__).resolve().parents[2]
    / "shared/data/suites/cloudevents-conformance/features/kafka-protocol-binding.feature"
)
KEYWORDS = ("Given", "When", "Then", "And")


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
                event = from_kafka(headers, payload)
            case "the attributes are":
                assert event.attributes == rows(table)
                checked += 1
            case "the data is equal to the following JSON":
                assert event.data == json.loads(doc)
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
    event = from_kafka([*HEADERS, content(kind)], json.dumps(DATA).encode())
    assert event.attributes == {**ATTRIBUTES, "datacontenttype": kind}
    assert event.data == DATA


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
    event = from_kafka(headers, EVENT)
    assert (event.attributes, event.data) == (ATTRIBUTES, DATA)
    assert structured(headers, EVENT) == EVENT


def test_headers_without_a_content_type_are_binary_mode():
    assert from_kafka(HEADERS, json.dumps(DATA).encode()).attributes == ATTRIBUTES
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
            assert from_kafka(with_null, value) == from_kafka(headers, value)
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
    assert (
        from_kafka([("ce_id", b"other"), content("application/cloudevents+json")], EVENT).attributes["id"]
        == "42"
    )


def test_data_of_other_types_is_handed_on():
    assert from_kafka([*HEADERS, content("text/plain")], b"\xff{").data == b"\xff{"
    assert from_kafka([*HEADERS, content("application/json")], None).data is None
    encoded = json.dumps({**ATTRIBUTES, "data_base64": "AAEC"}).encode()
    assert from_kafka([], encoded).data == b"\x00\x01\x02"


def test_extensions_take_their_canonical_form():
    event = from_kafka([], json.dumps({**ATTRIBUTES, "sampled": True, "hops": 3}).encode())
    assert (event.attributes["sampled"], event.attributes["hops"]) == ("true", "3")
    assert from_kafka([*HEADERS, ("ce_hops", b"3")], b"{}").attributes["hops"] == "3"


@pytest.mark.parametrize(
    ("headers", "value", "field"),
    [
        ([], None, ""),
        ([], b"[]", ""),
        ([], b'{"specversion":"1.0"', ""),
        ([], b'{"id":"1"}', "specversion"),
        ([], b'{"specversion":1.5}', "specversion"),
        ([], b'{"specversion":"1.0","data_base64":"?"}', "data_base64"),
        ([], b"[" * 100_000, ""),
        ([content("application/json")], b"{}", "specversion"),
        ([*HEADERS, content("application/json")], b'{"channel":', "data"),
        ([*HEADERS, content("application/json")], b"[" * 100_000, "data"),
        ([*HEADERS, ("ce_id", b"\xff")], b"{}", "ce_id"),
        ([content("application/cloudevents+avro")], b"{}", "content-type"),
        ([content("application/cloudevents-batch+json")], b"[]", "content-type"),
    ],
)
def test_what_is_no_cloudevent_is_named(headers, value, field):
    with pytest.raises(CloudEventError) as caught:
        from_kafka(headers, value)
    assert caught.value.field == field


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
