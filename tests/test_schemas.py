"""The schemas, the decoder and the documents say the same thing."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cxstream import topology
from cxstream.cli.schemas import command
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE, Kind
from cxstream.scoring.codec.changes import decode_changes, is_change
from cxstream.scoring.codec.decode import decode
from cxstream.wire import asyncapi, schema
from cxstream.wire.examples import example, example_forget, example_rules, example_tick
from validity import validate

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = (ROOT / "docs/events.md").read_text(encoding="utf-8")


def checker(document):
    return Draft202012Validator(document, format_checker=Draft202012Validator.FORMAT_CHECKER)


VALIDATORS = {kind.type: checker(schema.touchpoint(kind)) for kind in Kind} | {
    TICK_TYPE: checker(schema.tick()),
    FORGET_TYPE: checker(schema.forget()),
    RULES_TYPE: checker(schema.rules()),
}


def broken_fields(event) -> set[str]:
    """The paths that the schema objects to; `type` where there is no schema."""
    kind = event.get("type")
    validator = VALIDATORS.get(kind) if isinstance(kind, str) else None
    if validator is None:
        return {"type"}
    found = set()
    for error in validator.iter_errors(event):
        path = [f".{part}" if isinstance(part, str) else f"[{part}]" for part in error.absolute_path]
        if error.validator == "required":
            path.append("." + re.match("'(.*)' is a required", error.message)[1])
        found.add("".join(path).removeprefix("."))
    return found


def agree(event) -> None:
    rejected = validate(json.dumps(event).encode())
    broken = broken_fields(event)
    if broken:
        assert rejected is not None, f"the schema objects to {broken}, the decoder does not: {event}"
        assert rejected[0] == "invalid"
        assert rejected[1] in broken
    else:
        assert rejected is None, f"the decoder says {rejected}, the schema nothing: {event}"


def agree_on_time(time: str) -> None:
    event = {**example_tick(), "time": time}
    agree(event)
    # Where `format` is an annotation only, the pattern must do alone.
    matches = re.search(schema.TIME_PATTERN, time) is not None and "\n" not in time and len(time) <= 256
    assert matches == (validate(json.dumps(event).encode()) is None)


# --- generated events

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 12),
    st.sampled_from(
        [0.5, -0.0, 2**53 + 1, 2**63, 2**64, -(2**64), 10**308, 10**309, -(10**400), 1.0, 3.0, 1e-320]
    ),
)
texts = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["", "EUR", "eur", "EURO", "EUR\n", "web", "call", "\x00", "x" * 129, "żółć" * 32]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(texts, scalars, max_size=2))

GOOD = {
    "channel": st.sampled_from(["call", "chat", "email", "store", "social"]),
    "stage": st.sampled_from([None, "awareness", "service"]),
    "case_id": st.text(min_size=1, max_size=4),
    "action": st.text(min_size=1, max_size=4),
    "currency": st.sampled_from(["EUR", "PLN"]),
    "score": st.sampled_from([1, 2, 3.0, 5]),
    "rating": st.floats(1, 5),
    "sentiment": st.floats(-1, 1) | st.none(),
    "arm": st.sampled_from(["treated", "holdout", None]),
    "hashtags": st.lists(st.text(max_size=3), max_size=2) | st.none(),
    "resolved": st.booleans() | st.none(),
    "abandoned": st.booleans() | st.none(),
    "x": st.floats(allow_nan=False, allow_infinity=False),
    "y": st.integers(-5000, 5000),
    **{
        name: st.floats(0, allow_infinity=False) | st.integers(0, 10**308)
        for name in ("wait_s", "handle_s", "transfers", "late_days", "amount", "likes", "shares", "comments")
    },
}


@st.composite
def good_events(draw):
    kind = draw(st.sampled_from(Kind))
    event = copy.deepcopy(example(kind))
    event["subject"] = draw(st.text(min_size=1, max_size=128))
    for name in draw(st.lists(st.sampled_from(sorted(schema.FIELDS)), max_size=6)):
        event["data"][name] = draw(GOOD.get(name, st.text(max_size=5)))
    for name in draw(st.lists(st.sampled_from(["traceparent", "dataschema", "Type", "unknown"]), max_size=2)):
        draw(st.sampled_from([event, event["data"]]))[name] = draw(values)
    return event


@st.composite
def broken_events(draw):
    event = draw(good_events() | st.builds(example_tick))
    for _ in range(draw(st.integers(1, 2))):
        inside = event["data"] if isinstance(event.get("data"), dict) and draw(st.booleans()) else event
        name = draw(
            st.sampled_from(sorted({*inside, *(schema.ATTRIBUTES if inside is event else schema.FIELDS)}))
        )
        if draw(st.booleans()):
            inside[name] = draw(values)
        else:
            inside.pop(name, None)
    return event


@given(good_events())
@settings(max_examples=300, deadline=None)
def test_good_events_pass_both(event):
    assert not broken_fields(event)
    agree(event)


@given(broken_events())
@settings(max_examples=1500, deadline=None)
def test_decoder_and_schema_agree(event):
    agree(event)


@given(
    date=st.tuples(
        st.sampled_from([0, 1, 4, 100, 400, 1900, 1999, 2000, 2023, 2024, 2100, 9999]) | st.integers(0, 9999),
        st.integers(0, 13),
        st.integers(0, 32) | st.sampled_from([28, 29, 30, 31]),
    ),
    clock=st.tuples(
        st.sampled_from([0, 12, 23, 24]), st.sampled_from([0, 30, 59, 60]), st.sampled_from([0, 59, 60, 61])
    ),
    rest=st.tuples(
        st.sampled_from("TTTt _"),
        st.sampled_from(["", "", ".0", ".25", ".123456789012", ".", ",5"]),
        st.sampled_from(
            [
                "Z",
                "z",
                "+00:00",
                "-00:00",
                "+23:59",
                "-12:30",
                "+24:00",
                "+01:60",
                "+0100",
                "",
                "Z\n",
                "Z ",
                "+1:00",
            ]
        ),
    ),
)
@settings(max_examples=1500, deadline=None)
def test_times_agree(date, clock, rest):
    separator, fraction, offset = rest
    time = f"{date[0]:04}-{date[1]:02}-{date[2]:02}{separator}{clock[0]:02}:{clock[1]:02}:{clock[2]:02}{fraction}{offset}"
    agree_on_time(time)


@given(st.text(alphabet="0123456789-+:.TZtz ٣\n", max_size=30) | st.from_regex(schema.TIME_PATTERN))
@settings(max_examples=500, deadline=None)
def test_times_of_any_shape_agree(time):
    agree_on_time(time)


@pytest.mark.parametrize("kind", Kind)
def test_each_field_of_each_kind_is_held_to_its_type(kind):
    for name in schema.FIELDS:
        for value in (True, -1, 0.5, 1e300, 10**309, "x", "", [], [1], ["x"], {}, None):
            event = copy.deepcopy(example(kind))
            event["data"][name] = value
            agree(event)


# --- bounds

BOUNDS = {
    **dict.fromkeys(("id", "source", "time"), 256),
    "subject": 128,
    **{
        f"data.{name}": {"text": 20_000, "lang": 35}.get(name, 256)
        for name, field in VALIDATORS[Kind.page_view.type].schema["properties"]["data"]["properties"].items()
        if "string" in field.get("type", ()) and "enum" not in field and name != "currency"
    },
}
# One, two, three and four bytes of UTF-8 each.
CHARACTERS = ["x", "ż", "\u20ac", "\U0001f600"]


def with_field(event, path: str, value):
    found = copy.deepcopy(event)
    inside = found["data"] if path.startswith("data.") else found
    inside[path.removeprefix("data.")] = value
    return found


def of_length(path: str, length: int, character: str) -> str:
    return f"2025-03-01T12:30:00.{'0' * (length - 21)}Z" if path == "time" else character * length


def in_both_modes(event) -> list[tuple[str, str] | None]:
    """What the decoder says of an event in structured and in binary mode."""
    headers = [(f"ce_{name}", text.encode()) for name, text in event.items() if name != "data"]
    values, modes = [json.dumps(event).encode()], [[]]
    if "data" in event:
        values.append(json.dumps(event["data"], ensure_ascii=False).encode())
        modes.append(headers)
    rejected = {each.index: (each.reason, each.field) for each in decode(values, modes).rejected}
    return [rejected.get(i) for i in range(len(values))]


@pytest.mark.parametrize("character", CHARACTERS, ids=ascii)
@pytest.mark.parametrize("path", BOUNDS)
def test_a_string_may_be_as_long_as_its_bound_and_no_longer(path, character):
    bound = BOUNDS[path]
    for kind in Kind if character == "x" else (Kind.contact,):
        fits = with_field(example(kind), path, of_length(path, bound, character))
        agree(fits)
        assert set(in_both_modes(fits)) == {None}
        beyond = with_field(example(kind), path, of_length(path, bound + 1, character))
        assert broken_fields(beyond) == {path}
        assert set(in_both_modes(beyond)) == {("invalid", path)}


@pytest.mark.parametrize(
    "event", [example_tick(), example_forget(), example_rules()], ids=["tick", "forget", "rules"]
)
def test_strings_of_control_records_have_bounds(event):
    for path in set(BOUNDS) & set(event):
        for length in (BOUNDS[path], BOUNDS[path] + 1):
            some = with_field(event, path, of_length(path, length, "\U0001f600"))
            agree(some)
            assert set(in_both_modes(some)) == {None if length == BOUNDS[path] else ("invalid", path)}


@pytest.mark.parametrize(
    ("hashtags", "field"),
    [
        (["\U0001f600" * 128] * 50, None),
        (["x"] * 51, "data.hashtags"),
        (["x", "x" * 129], "data.hashtags[1]"),
    ],
    ids=["largest", "many", "long"],
)
def test_hashtags_have_bounds(hashtags, field):
    event = with_field(example(Kind.social_post), "data.hashtags", hashtags)
    agree(event)
    assert set(in_both_modes(event)) == {("invalid", field) if field else None}


def test_unknown_strings_have_no_bound_of_their_own():
    event = with_field(example(Kind.page_view) | {"extension": "x" * 1_000}, "data.unknown", "x" * 100_000)
    agree(event)
    assert set(in_both_modes(event)) == {None}


def test_the_reference_says_the_bounds():
    for path, bound in BOUNDS.items():
        if bound != 256:
            assert (
                f"`{path.removeprefix('data.')}`" in REFERENCE.partition("### Bounds")[2].partition("## ")[0]
            )
            assert f"{bound:,}" in REFERENCE.partition("### Bounds")[2].partition("## ")[0]


def test_what_is_said_of_a_record_is_short_whatever_it_holds():
    _, _, message = validate(raw(type="x" * 100_000))
    assert len(message) < 400


# --- hostile records

EVENT = example(Kind.page_view)
TEXT = json.dumps(EVENT)


def raw(**more) -> bytes:
    return json.dumps({**EVENT, **more}).encode()


def spliced(field: str, errors: str = "strict") -> bytes:
    """The example with a raw piece of JSON at the start of its data."""
    return TEXT.replace('"data": {', '"data": {' + field, 1).encode(errors=errors)


HOSTILE = {
    "no value": (b"", "malformed", ""),
    "an array": (b"[]", "malformed", ""),
    "a number": (b"1", "malformed", ""),
    "two objects": (TEXT.encode() * 2, "malformed", ""),
    "a byte order mark": (b"\xef\xbb\xbf" + TEXT.encode(), "malformed", ""),
    "UTF-16": (TEXT.encode("utf-16"), "malformed", ""),
    "not UTF-8 in a known field": (
        TEXT.replace("customer-1", "\udcff").encode(errors="surrogateescape"),
        "malformed",
        "",
    ),
    "not UTF-8 in an unknown field": (spliced('"z": "\udcff",', errors="surrogateescape"), None, None),
    "NaN": (spliced('"wait_s": NaN,'), "malformed", ""),
    "infinity": (spliced('"wait_s": -Infinity,'), "malformed", ""),
    "a number beyond float64": (spliced('"wait_s": 1e400,'), "invalid", "data.wait_s"),
    "a number of 100,000 digits": (spliced(f'"wait_s": {"9" * 100_000},'), "invalid", "data.wait_s"),
    "a negative amount": (spliced('"amount": -1,'), "invalid", "data.amount"),
    "a lone surrogate": (spliced(r'"text": "\ud800",'), "malformed", ""),
    "a lone surrogate in an unknown field": (spliced(r'"z": "\ud800",'), "malformed", ""),
    "deep nesting in an unknown field": (spliced(f'"z": {"[" * 600}{"]" * 600},'), "malformed", ""),
    "100,000 open brackets": (b"[" * 100_000, "malformed", ""),
    "100,000 open braces": (b'{"a":' * 100_000, "malformed", ""),
    "nesting that a source might have": (spliced(f'"z": {"[" * 100}{"]" * 100},'), None, None),
    "a duplicate key, good last": (spliced('"channel": "fax",'), "invalid", "data.channel"),
    "a duplicate key, both good": (spliced('"channel": "app",'), None, None),
    "NUL in text": (raw(subject="a\x00b"), None, None),
    "an empty subject": (raw(subject=""), "invalid", "subject"),
    "a subject of 129 characters": (raw(subject="ż" * 129), "invalid", "subject"),
    "a subject of 128 characters": (raw(subject="ż" * 128), None, None),
    "a time without an offset": (raw(time="2025-03-01T12:30:00"), "invalid", "time"),
    "a leap second": (raw(time="2016-12-31T23:59:60Z"), "invalid", "time"),
    "an unknown type": (raw(type="cx.touchpoint.fax.v1"), "invalid", "type"),
    "a 10 MB text": (raw(data={"channel": "web", "text": "x" * 10_000_000}), "too_large", ""),
    "a 1 MB text": (raw(data={"channel": "web", "text": "x" * 1_000_000}), "invalid", "data.text"),
    "a 1 MB unknown field": (raw(z=["x" * 97] * 10_000), None, None),
    "1 MB of brackets in a string": (raw(z="[{" * 500_000), None, None),
    "a 10 MB unknown field": (raw(z=["x" * 100] * 100_000), "too_large", ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_records(name):
    record, reason, field = HOSTILE[name]
    rejected = validate(record)
    assert (rejected[:2] if rejected else (None, None)) == (reason, field)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_reference_says_what_hostile_records_get(name):
    reason, field = HOSTILE[name][1:]
    said = f"`{reason}`" if reason else "accepted"
    at = f", `{field}`" if field else ""
    assert f"| {name} | {said}{at} |" in REFERENCE


@pytest.mark.parametrize("given", [{}, {"action": None}, {"action": ""}, {"action": 1}], ids=str)
def test_an_action_taken_says_what_was_done(given):
    event = example(Kind.action_taken)
    event["data"] = {"channel": "crm", "action_id": "cx.touchpoints-0-42-0", **given}
    rejected = validate(json.dumps(event).encode())
    assert rejected is not None
    assert rejected[:2] == ("invalid", "data.action")
    assert broken_fields(event) == {"data.action"}


# --- the documents


def test_schemas_on_disk_are_what_the_code_says():
    result = CliRunner().invoke(command, ["--check", str(ROOT / "schemas")])
    assert result.exit_code == 0, result.output


def test_check_shows_what_differs(tmp_path):
    assert CliRunner().invoke(command, ["--out", str(tmp_path)]).exit_code == 0
    score = tmp_path / "score.v1.json"
    score.write_text(score.read_text().replace('"number"', '"string"', 1))
    (tmp_path / "tick.v1.json").unlink()
    (tmp_path / "touchpoints/fax.v1.json").write_text("{}\n")
    result = CliRunner().invoke(command, ["--check", str(tmp_path)])
    assert result.exit_code == 1
    for expected in ('-          "type": "string"', "--- (missing)", "+++ (not generated; delete it)"):
        assert expected in result.output


def test_out_or_check_is_asked_for():
    assert CliRunner().invoke(command, []).exit_code == 2


@pytest.mark.parametrize("name", schema.documents())
def test_each_document_is_a_schema_whose_examples_hold(name):
    document = schema.documents()[name]
    Draft202012Validator.check_schema(document)
    assert document["title"]
    assert document["description"]
    for case in document.get("examples", []):
        value = json.dumps(case).encode()
        assert not decode_changes([value]).rejected if is_change(value) else validate(value) is None
        checker(document).validate(case)
    assert not re.findall(r"\(\?[=!<]", json.dumps(document)), "look-around is not known to every engine"


def test_a_churn_risk_signal_has_scores_unless_its_customer_was_erased():
    cause = {"topic": "cx.touchpoints", "partition": 0, "offset": 7}
    envelope = {
        "specversion": "1.0",
        "source": "/cxstream",
        "type": "cx.signal.churn_risk.v1",
        "id": "a-0-7-0",
        "subject": "anna",
        "time": "2025-03-12T14:00:00.000Z",
        "datacontenttype": "application/json",
    }
    told = {"level": "none", "previous": "high", "cause": cause}
    scores = dict.fromkeys(("probability", "effort", "effort_halfwidth", "satisfaction"), 0.5)
    scores |= {"satisfaction_halfwidth": 1.0, "reasons": [], "value_at_risk": None}
    scores |= {"suggested_action": None, "model": "default-1"}
    holds = checker(schema.documents()["signals/churn_risk.v1.json"]).is_valid
    assert holds({**envelope, "data": {"change": "erased", **told}})
    assert holds({**envelope, "data": {"change": "cleared", **told, **scores}})
    assert holds({**envelope, "data": {"change": "cleared", **told, **scores, "p_alive": 0.5, "clv": None}})
    assert not holds({**envelope, "data": {"change": "cleared", **told, **scores, "p_alive": "0.5"}})
    assert not holds({**envelope, "data": {"change": "cleared", **told}})
    assert not holds({**envelope, "data": {"change": "erased", **told, "level": "high"}})
    assert not holds({**envelope, "data": {"change": "gone", **told, **scores}})


@pytest.mark.parametrize("kind", Kind)
def test_the_reference_shows_each_kind(kind):
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL)]
    assert any(block == example(kind)["data"] for block in shown)
    assert f"### {kind.label}\n" in REFERENCE


@pytest.mark.parametrize("field", schema.FIELDS)
def test_the_reference_explains_each_field(field):
    assert f"| `{field}` | {schema.FIELDS[field]} |" in REFERENCE


# --- AsyncAPI


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_asyncapi_document_names_every_topic_and_schema():
    document = asyncapi.document()
    assert {channel["address"] for channel in document["channels"].values()} == {
        t.name for t in topology.TOPICS
    }
    files = {ref.removeprefix("./") for ref in references(document) if not ref.startswith("#")}
    assert files == set(schema.documents())
    for channel in document["channels"].values():
        assert channel["messages"]
        assert channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] in (
            ["delete"],
            ["compact"],
        )


def test_references_inside_the_asyncapi_document_lead_somewhere():
    document = asyncapi.document()
    for reference in references(document):
        if reference.startswith("#/"):
            node = document
            for part in reference[2:].split("/"):
                node = node[part]


def test_each_channel_has_its_operation():
    document = asyncapi.document()
    operations = document["operations"].values()
    assert {o["channel"]["$ref"].rpartition("/")[2] for o in operations} == set(document["channels"])
    for operation in operations:
        channel = document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
        assert {m["$ref"].rpartition("/")[2] for m in operation["messages"]} == set(channel["messages"])
