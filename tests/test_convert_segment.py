"""Segment-style records: what each becomes, what is counted, and what a site adds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cxstream.convert import segment
from cxstream.convert.mapping import load
from cxstream.convert.report import Problem, Report
from cxstream.convert.run import write

ROOT = Path(__file__).parent.parent
TIME = "2026-03-02T08:14:05.120Z"


class Converted:
    """What came of some records."""

    def __init__(
        self, folder: Path, records: list[dict[str, Any]], mapping: str | None = None, **options: Any
    ) -> None:
        path = folder / "in.log"
        path.write_text("\n".join(json.dumps(record) for record in records), "utf-8")
        if mapping is not None:
            (folder / "own.toml").write_text(mapping, "utf-8")
            options["mapping"] = folder / "own.toml"
        self.problems: list[Problem] = []
        self.report = Report(self.problems.append)
        out = io.BytesIO()
        write(segment.drafts([path], self.report, **options), out, self.report, in_order=False)
        self.events: list[dict[str, Any]] = [
            msgspec.json.decode(line) for line in out.getvalue().splitlines()
        ]


def track(event: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "messageId": "m", "userId": "ada", "timestamp": TIME, **more}


PROPERTIES = {"total": 10, "currency": "EUR", "rating": 4, "order_id": "o"}


def _names() -> list[tuple[str, str]]:
    """Each event name of the built-in table, with its kind."""
    return [
        (str(name), event.kind)
        for event in load(segment.BUILT_IN).event
        if (names := event.when.get("event"))
        for name in (names if isinstance(names, list) else [names])
    ]


@pytest.mark.parametrize(("name", "kind"), _names())
def test_each_name_of_the_table_gives_a_good_event(tmp_path: Path, name: str, kind: str) -> None:
    found = Converted(tmp_path, [track(name, properties=PROPERTIES)])
    assert [event["type"] for event in found.events] == [f"cx.touchpoint.{kind}.v1"]
    assert not found.problems


def test_each_name_of_the_table_is_documented() -> None:
    text = (ROOT / "docs" / "convert.md").read_text("utf-8")
    assert len(_names()) > 30
    assert [name for name, _ in _names() if name not in text] == []


def test_an_order(tmp_path: Path) -> None:
    record = track(
        "Order Completed",
        properties={"order_id": 1001, "total": "84.90", "revenue": 71.5, "currency": "EUR"},
        context={"device": {"type": "iOS"}, "campaign": {"name": "spring"}, "sessionId": 7},
        originalTimestamp="2026-03-02T09:00:00.000Z",
    )
    assert Converted(tmp_path, [record], source="shop/web").events == [
        {
            "specversion": "1.0",
            "id": "m",
            "source": "shop/web",
            "type": "cx.touchpoint.purchase.v1",
            "subject": "ada",
            "time": TIME,
            "data": {
                "touchpoint": "checkout",
                "stage": "purchase",
                "channel": "app",
                "session": "7",
                "campaign": "spring",
                "order_id": "1001",
                "amount": 84.9,
                "currency": "EUR",
            },
        }
    ]


@pytest.mark.parametrize(
    ("properties", "amount"),
    [({"revenue": 7, "value": 8}, 7), ({"value": 8}, 8), ({"total": 0, "revenue": 7}, 0)],
)
def test_the_amount_of_an_order(tmp_path: Path, properties: dict[str, Any], amount: float) -> None:
    data = Converted(tmp_path, [track("Order Completed", properties=properties)]).events[0]["data"]
    assert (data["amount"], data["currency"]) == (amount, "USD")


def test_an_order_without_an_amount_is_told(tmp_path: Path) -> None:
    found = Converted(tmp_path, [track("Order Completed", properties={})])
    assert [problem.reason for problem in found.problems] == ["missing"]


def test_pages_and_screens(tmp_path: Path) -> None:
    page = {"type": "page", "messageId": "1", "userId": "a", "timestamp": TIME}
    found = Converted(
        tmp_path,
        [
            page | {"name": "Home", "properties": {"path": "/"}},
            page | {"properties": {"path": "/help"}, "context": {"library": {"name": "analytics.js"}}},
            page | {"type": "screen", "name": "Cart"},
        ],
    )
    data = [(event["data"]["channel"], event["data"]["touchpoint"]) for event in found.events]
    assert data == [("web", "Home"), ("web", "/help"), ("app", "Cart")]
    assert found.report.events == {"page_view": 3}


def test_the_time_is_the_corrected_one(tmp_path: Path) -> None:
    late = track("Product Viewed", originalTimestamp="2020-01-01T00:00:00Z")
    only_original = {key: value for key, value in late.items() if key != "timestamp"}
    times = [event["time"] for event in Converted(tmp_path, [late, only_original]).events]
    assert times == [TIME, "2020-01-01T00:00:00.000Z"]


def test_what_is_no_touchpoint_is_counted(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"type": "identify", "messageId": "1", "userId": "a", "timestamp": TIME},
        {"type": "page", "messageId": "2", "anonymousId": "x", "timestamp": TIME},
        {"type": "page", "messageId": "3", "anonymousId": "x", "userId": None, "timestamp": TIME},
        track("Order Updated"),
        track("Ticket Created"),
        {"type": "track", "messageId": "4", "userId": "a", "timestamp": TIME},
        {"type": "page", "messageId": "5", "userId": "a"},
    ]
    found = Converted(tmp_path, records)
    assert found.events == []
    assert found.report.skipped[segment.ANONYMOUS] == 2
    assert sorted(found.report.skipped.values()) == [1, 1, 2]
    told = [(problem.line, problem.field, problem.reason) for problem in found.problems]
    assert told == [
        (5, "event", "unmapped_row"),
        (6, "event", "unmapped_row"),
        (7, "timestamp/originalTimestamp", "missing"),
    ]
    assert "'Ticket Created'" in found.problems[0].message


OWN = """
[[event]]
kind = "complaint_opened"
when = { event = "Ticket Created" }
data = { case_id = { column = "properties.ticket" } }

[[event]]
kind = "page_view"
when = { event = "Order Completed", "properties.test" = true }
data = { touchpoint = "test order" }

[[skip]]
when = { type = "page" }
reason = "pages are in another system"
"""


def test_the_events_of_a_site_come_before_the_built_in_ones(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        track("Ticket Created", properties={"ticket": 5}),
        track("Order Completed", properties={"test": True}),
        track("Order Completed", properties={"total": 1}),
        {"type": "page", "messageId": "2", "userId": "a", "timestamp": TIME},
        {"type": "page", "messageId": "3", "timestamp": TIME},
    ]
    found = Converted(tmp_path, records, OWN)
    assert [event["type"].split(".")[2] for event in found.events] == [
        "complaint_opened",
        "page_view",
        "purchase",
    ]
    assert found.events[0]["data"]["case_id"] == "5"
    assert found.events[0]["subject"] == "ada"
    assert found.report.skipped == {"pages are in another system": 1, segment.ANONYMOUS: 1}
    assert not found.problems
