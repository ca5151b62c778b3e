"""JSON Schemas (2020-12) of every event, read off the types that the decoder and the encoder run on.

One self-contained document a file, so that a team can take the one of its kind and nothing else. Patterns keep
to what every regular expression engine knows: no look-around.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.changes import Change
from cxstream.model.events import ENVELOPES, Forget, NewRules, Tick, envelope
from cxstream.model.fields import MAX_STRING, Data
from cxstream.model.kinds import Kind
from cxstream.model.outputs import OUTPUTS, Output
from cxstream.model.place_signals import INSIGHTS
from cxstream.model.rfc3339 import DATE, TIME_OF_DAY
from cxstream.model.work import AUDIT, WORK
from cxstream.scoring.codec.vocabulary import data_type
from cxstream.wire.examples import (
    example,
    example_change,
    example_forget,
    example_own,
    example_rules,
    example_tick,
)
from cxstream.wire.rules import data_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.model.parameters import OwnKind

Json = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

TIME_PATTERN = f"^{DATE}{TIME_OF_DAY}$"
"""RFC 3339 with an offset, calendar included: `format` alone is an annotation, and no two checkers agree on it."""

_TIME_IN: Json = {
    "description": "When it happened: RFC 3339 with an offset; milliseconds are kept.",
    "type": "string",
    "format": "date-time",
    "pattern": TIME_PATTERN,
    "maxLength": MAX_STRING,
    # In some engines `$` also matches before a newline at the end.
    "not": {"pattern": "\n"},
}
_TIME_OUT: Json = {
    "type": "string",
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$",
}

# Fields of `data` that are such times.
_TIMES_OUT = {"last_touch", "since"}

ATTRIBUTES = {
    "specversion": "Version of CloudEvents.",
    "type": "Kind of the event.",
    "id": "Identifies the event together with `source`.",
    "source": "The system that says so.",
    "subject": "The customer; the Kafka key equals it.",
    "time": "The partition's clock.",
    "signature": "HMAC-SHA-256 under the workers' control.key, in lower-case hexadecimal, of the canonical JSON (RFC 8785) "
    "of the other attributes. Workers sign; where they have a key, a control record in cx.touchpoints without a valid "
    "signature is rejected as forged.",
    "datacontenttype": "Media type of `data`.",
    "data": "What happened.",
}
"""What the attributes of an envelope are."""


def documents(own: Mapping[str, OwnKind] | None = None) -> dict[str, Json]:
    """Every JSON Schema by its path below `schemas/`.

    Args:
        own: kinds of the company's own.
    """
    found = {f"touchpoints/{kind.label}.v1.json": touchpoint(kind) for kind in Kind}
    found |= {f"touchpoints/{name}.v1.json": own_touchpoint(name, kind) for name, kind in (own or {}).items()}
    found["tick.v1.json"] = tick()
    found["forget.v1.json"] = forget()
    found["rules.v1.json"] = rules()
    found["change.v1.json"] = change()
    return found | {each.schema: output(each) for each in (*OUTPUTS, INSIGHTS, WORK, AUDIT)}


def touchpoint(kind: Kind) -> Json:
    """The schema of one kind of touchpoint: what the decoder accepts, no more and no less."""
    return {**_touchpoint(ENVELOPES[kind], kind.label), "examples": [example(kind)]}


def own_touchpoint(name: str, kind: OwnKind) -> Json:
    """The schema of a kind of the company's own, under rules that name it."""
    schema = _touchpoint(envelope(name, len(Kind), data_type(name, kind)), name)
    if kind.description:
        schema["description"] = kind.description
    return {**schema, "examples": [example_own(name, schema)]}


def _touchpoint(kind: type[msgspec.Struct], label: str) -> Json:
    schema = _schema(kind, f"Touchpoint: {label}")
    schema["properties"]["time"] = _TIME_IN
    fields = schema["properties"]["data"]["properties"]
    for name in fields:
        # A field that one kind alone has is described where it is defined.
        fields[name] = {**({"description": FIELDS[name]} if name in FIELDS else {}), **fields[name]}
    return schema


def tick() -> Json:
    """The schema of a tick."""
    schema = _schema(Tick, "Tick")
    schema["properties"]["time"] = {**_TIME_IN, "description": "What time it is: RFC 3339 with an offset."}
    return {**schema, "examples": [example_tick()]}


def forget() -> Json:
    """The schema of an erasure request."""
    schema = _schema(Forget, "Request to be erased")
    schema["properties"]["time"] = {
        **_TIME_IN,
        "description": "When it was made: RFC 3339 with an offset. What is not later is dropped from then on.",
    }
    return {**schema, "examples": [example_forget()]}


def change() -> Json:
    """The schema of a change of the experience."""
    schema = _schema(Change, "Change of the experience")
    schema["properties"]["time"] = {
        **_TIME_IN,
        "description": "When it came into effect: RFC 3339 with an offset; milliseconds are kept.",
    }
    return {**schema, "examples": [example_change()]}


def rules() -> Json:
    """The schema of a set of rules."""
    schema = _schema(NewRules, "Rules")
    schema["properties"]["time"] = {
        **_TIME_IN,
        "description": "When it was made: RFC 3339 with an offset. A set that is not later than the one in force is a "
        "duplicate.",
    }
    schema["properties"]["data"] = data_schema()
    return {**schema, "examples": [example_rules()]}


def output(described: Output) -> Json:
    """The schema of the records of an output topic; where they are of several types, they differ in `data` alone."""
    (title, first), *others = described.types
    schema = _event(first, described.title)
    if others:
        data = schema["properties"]["data"]
        schema["properties"]["data"] = {
            "description": data.pop("description"),
            "oneOf": [
                {"title": title, **data},
                *({"title": name, **_event(kind, "")["properties"]["data"]} for name, kind in others),
            ],
        }
    return schema


def _event(kind: type[msgspec.Struct], title: str) -> Json:
    """The schema of an event that is written, which always has all of its fields."""
    schema = _schema(kind, title)
    schema["properties"]["time"].update(_TIME_OUT)
    fields = schema["properties"]["data"]["properties"]
    for name in _TIMES_OUT & fields.keys():
        fields[name].update(_TIME_OUT)
    _require_all(schema, _absent(kind))
    return schema


def _absent(kind: type[msgspec.Struct]) -> set[str]:
    """Fields of the data of an output that are not always there."""
    [data] = [each.type for each in msgspec.inspect.type_info(kind).fields if each.name == "data"]  # type: ignore[attr-defined]
    return {each.encode_name for each in msgspec.structs.fields(data.cls) if each.default is msgspec.UNSET}


def _schema(kind: type[msgspec.Struct], title: str) -> Json:
    generated = msgspec.json.schema(kind)
    schema = _plain(generated, generated.get("$defs", {}))
    for name, attribute in schema["properties"].items():
        schema["properties"][name] = {"description": ATTRIBUTES[name], **attribute}
    summary, _ = _docstring(schema.pop("description", ""))
    return {"$schema": DRAFT, "title": title, "description": summary, **schema}


def _plain(node: Any, definitions: Json) -> Any:
    """Put each definition where it is used, and say things the shortest way."""
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {name: value for name, value in node.items() if name not in {"$ref", "$defs"}}
        return {**_plain(definitions[node["$ref"].rpartition("/")[2]], definitions), **rest}
    if "anyOf" in node:
        return _nullable(node, definitions)
    plain: Json = {}
    for name, value in node.items():
        if name == "properties":
            plain[name] = _described(value, node.get("description", ""), definitions)
        elif name == "enum" and len(value) == 1:
            plain["const"] = value[0]
        elif name not in {"title", "default", "$defs"}:
            plain[name] = _plain(value, definitions)
    if "properties" in plain and "description" in plain:
        plain["description"] = _docstring(plain["description"])[0]
    return plain


def _nullable(node: Json, definitions: Json) -> Json:
    """`anyOf` of one schema and null, as one schema."""
    one, null = (_plain(item, definitions) for item in node["anyOf"])
    if null != {"type": "null"}:
        raise TypeError(f"a union that is more than an optional value: {node['anyOf']}")
    if "enum" in one:
        return {**one, "enum": [*one["enum"], None]}
    return {**one, "type": [one["type"], "null"]}


def _described(properties: Json, docstring: str, definitions: Json) -> Json:
    _, attributes = _docstring(docstring)
    described: Json = {}
    for name, value in properties.items():
        text = {"description": attributes[name]} if name in attributes else {}
        described[name] = {**text, **_plain(value, definitions)}
    return described


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """The summary of a docstring and what it says of each attribute."""
    summary, _, listed = text.partition("Attributes:")
    first = " ".join(summary.split("\n\n")[0].split())
    found = re.findall(r"^\s*(\w+): (.*(?:\n {10,}.*)*)", listed, re.MULTILINE)
    return first, {name: " ".join(words.split()) for name, words in found}


def _require_all(schema: Json, absent: set[str]) -> None:
    if "properties" in schema:
        schema["required"] = [name for name in schema["properties"] if name not in absent]
        for nested in schema["properties"].values():
            _require_all(nested, absent)
    elif "items" in schema:
        _require_all(schema["items"], absent)


_, FIELDS = _docstring(Data.__doc__ or "")
"""What the fields of a touchpoint's `data` are."""
