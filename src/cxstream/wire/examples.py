"""One example of each kind of touchpoint: shown in the schemas and in the event reference, accepted by both."""

from __future__ import annotations

from typing import Any

from cxstream.model.changes import CHANGE_TYPE
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE, Kind, type_of

Fields = dict[str, Any]


def example(kind: Kind) -> Fields:
    """A whole event of `kind`."""
    return {
        "specversion": "1.0",
        "id": f"{kind.label}-1",
        "source": "/shop",
        "type": kind.type,
        "subject": "customer-1",
        "time": "2025-03-01T12:30:00.250+01:00",
        "data": kind.spec.example,
    }


def example_own(name: str, schema: Fields) -> Fields:
    """An event of a kind of the company's own, with the fields that its schema requires."""
    data = schema["properties"]["data"]
    filled = {field: _value(data["properties"][field]) for field in data["required"]}
    return example(Kind.page_view) | {"id": f"{name}-1", "type": type_of(name), "data": filled}


def _value(schema: Fields) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema["type"]
    kind = kinds if isinstance(kinds, str) else kinds[0]
    # The one pattern of a field of data is that of a currency.
    text = "EUR" if "pattern" in schema else "text"
    values: Fields = {"string": text, "number": 1, "boolean": True, "array": []}
    return values[kind]


def example_tick() -> Fields:
    """A tick."""
    return {
        "specversion": "1.0",
        "id": "0-29013630",
        "source": "/ticker",
        "type": TICK_TYPE,
        "time": "2025-03-01T11:30:00Z",
    }


def example_forget() -> Fields:
    """An erasure request."""
    return {
        "specversion": "1.0",
        "id": "request-1",
        "source": "/privacy-desk",
        "type": FORGET_TYPE,
        "subject": "customer-1",
        "time": "2025-03-01T11:30:00Z",
    }


def example_change() -> Fields:
    """A change of the experience."""
    return {
        "specversion": "1.0",
        "id": "release-2025.3",
        "source": "/deployments",
        "type": CHANGE_TYPE,
        "time": "2025-03-01T11:30:00Z",
        "data": {"name": "one-page checkout", "channel": "web", "touchpoint": "checkout"},
    }


def example_rules() -> Fields:
    """A set of rules, with a kind of the company's own."""
    return {
        "specversion": "1.0",
        "id": "rules-1",
        "source": "/rules-desk",
        "type": RULES_TYPE,
        "time": "2025-03-01T11:30:00Z",
        "data": {
            "scoring": {
                "name": "spring-2025",
                "coefficients": {"complaint": 1.8},
                "kinds": {"parcel_lost": {"effort": 4, "mood": -3, "requires": ["order_id"]}},
            }
        },
    }
