"""Rows of cx.scored and records of the other topics, as a warehouse takes them in."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from cxstream.files.scored_columns import SCHEMA
from cxstream.scoring.state.erasures import digest

DAY_MS = 86_400_000
START = 1_767_225_600_000  # 2026-01-01
PLAIN = {
    "partition": 0,
    "kind": "page_view",
    "source": "/web",
    "channel": "web",
    "effort": 0.5,
    "mood": -0.25,
    "flags": 0,
    "behind_ms": 0,
    "effort_after": 20.0,
    "satisfaction_after": 60.0,
    "probability_after": 0.125,
    "level_after": "none",
    "model": "default-1@00000000",
}


def row(offset: int, customer: str, **more: Any) -> dict[str, Any]:
    """A row of cx.scored."""
    partition = more.get("partition", 0)
    return (
        PLAIN
        | {
            "offset": offset,
            "customer": customer,
            "time": START + offset * 1000,
            "id": f"{partition}-{offset}",
        }
        | more
    )


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as they come from cx.scored."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def receipt(customer: str, partition: int, offset: int, time: str = "2026-01-01T00:00:00.000Z") -> bytes:
    """A record of cx.forgotten."""
    return json.dumps(
        {
            "type": "cx.forgotten.v1",
            "specversion": "1.0",
            "id": f"cx.touchpoints-{partition}-{offset}-forgotten",
            "source": "/cxstream",
            "subject": digest(customer).hex(),
            "time": time,
            "datacontenttype": "application/json",
            "data": {
                "request": "r",
                "requested_by": "/cli",
                "requested_at": time,
                "known": True,
                "erased": {"panes": 1, "complaints": 0, "contacts": 0},
                "cause": {"topic": "cx.touchpoints", "partition": partition, "offset": offset},
            },
        }
    ).encode()


def _event(customer: str, type_: str, name: str, time: str, data: dict[str, Any]) -> bytes:
    return json.dumps(
        {
            "type": type_,
            "specversion": "1.0",
            "id": name,
            "source": "/cxstream",
            "subject": customer,
            "time": time,
            "datacontenttype": "application/json",
            "data": data,
        }
    ).encode()


def card(
    customer: str, partition: int, offset: int, time: str = "2026-01-01T00:00:00.000Z", **more: Any
) -> bytes:
    """A record of cx.scores."""
    data = {
        "effort": 20.0,
        "effort_halfwidth": 1.0,
        "satisfaction": 60.0,
        "satisfaction_halfwidth": 2.0,
        "probability": 0.1,
        "level": "none",
        "announced": "none",
        "acute": 0.0,
        "features": {"effort": 1.0},
        "last_touch": time,
        "touches": {"1": 1, "7": 2, "30": 3, "90": 4},
        "purchases": 1,
        "last_purchase": "2025-12-31",
        "spent": 12.5,
        "model": "default-1@00000000",
    }
    name = f"cx.touchpoints-{partition}-{offset}:{customer}"
    return _event(customer, "cx.score.v1", name, time, data | more)


def signal(
    customer: str, partition: int, offset: int, n: int = 0, change: str = "raised", **more: Any
) -> bytes:
    """A record of cx.churn-risk."""
    cause = {"topic": "cx.touchpoints", "partition": partition, "offset": offset}
    data: dict[str, Any] = {"change": change, "level": "high", "previous": "none", "cause": cause}
    if change == "erased":
        data["level"] = "none"
    else:
        reason = {"feature": "effort", "value": 1.0, "contribution": 0.5, "evidence": "3 errors"}
        data |= {
            "probability": 0.5,
            "effort": 50.0,
            "effort_halfwidth": 5.0,
            "satisfaction": 40.0,
            "satisfaction_halfwidth": 4.0,
            "reasons": [reason],
            "value_at_risk": None,
            "suggested_action": "call",
            "model": "default-1@00000000",
        }
    name = f"cx.touchpoints-{partition}-{offset}-{n}"
    return _event(customer, "cx.signal.churn_risk.v1", name, "2026-01-01T00:00:01.000Z", data | more)


def friction(customer: str, partition: int, offset: int, n: int = 0) -> bytes:
    """A record of cx.friction."""
    data = {
        "effort_points": 9.5,
        "channel": "web",
        "touchpoint": "checkout",
        "evidence": "3 errors",
        "cause": {"topic": "cx.touchpoints", "partition": partition, "offset": offset},
        "model": "default-1@00000000",
    }
    name = f"cx.touchpoints-{partition}-{offset}-{n}"
    return _event(customer, "cx.signal.friction.v1", name, "2026-01-01T00:00:01.000Z", data)
