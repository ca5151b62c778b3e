"""The JSON Schema of `data` of `cx.rules.v1`: what `read_rules` accepts.

Some conditions compare one parameter with another, which JSON Schema cannot say: thresholds rise, `surge_days` is not
more than `window_days`, and a level belongs to one experiment. Their descriptions say so.
"""

from __future__ import annotations

from typing import Any

from cxstream.model.features import FEATURES
from cxstream.model.fields import Data
from cxstream.model.kinds import Kind
from cxstream.model.rules import json_schema

Json = dict[str, Any]

# In some engines `$` also matches before a newline at the end.
_ONE_LINE: Json = {"not": {"pattern": "\n"}}
_KEPT = frozenset({"description", "default"})


def data_schema() -> Json:
    """The schema of `data`: one document without references."""
    generated = json_schema()
    data: Json = _plain(generated, generated["$defs"])
    data["description"] = "A complete set of rules; what it does not name has its default."
    scoring = data["properties"]["scoring"]
    scoring["description"] = "The parameters of the scores, as in the settings' section [scoring]."
    fields = scoring["properties"]
    # It bounds what a worker holds in memory: a setting, not a rule.
    del fields["max_record_bytes"]
    fields["name"] |= _ONE_LINE
    for name, known in (
        ("points", [kind.label for kind in Kind]),
        ("coefficients", FEATURES),
        ("typical", FEATURES),
    ):
        each = fields[name]["additionalProperties"]
        fields[name]["properties"] = dict.fromkeys(known, each)
        fields[name]["additionalProperties"] = False
    _of_kinds(fields["kinds"])
    _of_experiments(fields["experiments"])
    fields["thresholds"]["description"] += " They must rise."
    fields["surge_days"]["description"] += " At most window_days."
    return data


def _of_kinds(kinds: Json) -> None:
    [(pattern, kind)] = kinds.pop("patternProperties").items()
    kind["properties"]["requires"]["items"] = {
        "enum": [name for name in Data.__struct_fields__ if name != "channel"]
    }
    labels = [each.label for each in Kind]
    kinds["propertyNames"] = {
        "pattern": pattern,
        "maxLength": 64,
        "not": {"anyOf": [{"enum": labels}, {"pattern": "\n"}]},
    }
    kinds["additionalProperties"] = kind


def _of_experiments(either: Json) -> None:
    """Name what a table of experiments has, beside null."""
    experiments = next(each for each in either["anyOf"] if each["type"] == "object")
    [(pattern, experiment)] = experiments.pop("patternProperties").items()
    experiments["propertyNames"] = {"pattern": pattern, "maxLength": 64} | _ONE_LINE
    experiments["additionalProperties"] = experiment
    either["description"] += " A level belongs to one of them at most."


def _plain(node: Any, definitions: Json) -> Any:
    """Put each definition where it is used, without titles."""
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {name: value for name, value in node.items() if name in _KEPT}
        return {**_plain(definitions[node["$ref"].rpartition("/")[2]], definitions), **rest}
    plain: Json = {}
    for name, value in node.items():
        if name == "properties":
            plain[name] = _described(value, node.get("description", ""), definitions)
        elif name == "default":
            plain[name] = value
        elif name not in {"title", "$defs"}:
            plain[name] = _plain(value, definitions)
    if "properties" in plain and "description" in plain:
        plain["description"] = " ".join(plain["description"].partition("\n\n")[0].split())
    return plain


def _described(properties: Json, docstring: str, definitions: Json) -> Json:
    """Properties with what a docstring says of them, or their own description."""
    lines = (line.strip().partition(": ") for line in docstring.partition("Attributes:")[2].splitlines())
    said = {name: words for name, colon, words in lines if colon}
    return {
        name: {**({"description": said[name]} if name in said else {}), **_plain(value, definitions)}
        for name, value in properties.items()
    }
