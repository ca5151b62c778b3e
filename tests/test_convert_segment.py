"""Segment-style records: what each becomes, what is counted, and what a site adds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from cxstream.convert import segment
from cxstream.convert.mapping import load
from cxstream.convert.report import Problem, Report
from cxstream.convert.run import write
from cxstream.convert.segment_columns import CORRECTED

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


# --- what records look like in the field

CASE = ROOT / "tests" / "cases" / "segment" / "in.ndjson"


def test_records_of_the_field() -> None:
    problems: list[Problem] = []
    report = Report(problems.append)
    out = io.BytesIO()
    write(segment.drafts([CASE], report), out, report, in_order=False)
    events = {event["id"]: event for event in map(msgspec.json.decode, out.getvalue().splitlines())}
    assert {event["subject"] for event in events.values()} == {"u1", "12345", "9223372036854775809"}
    assert {"in batch", "in array", "w", "event lower", "event snake", "user padded"} <= set(events)
    assert events["uncorrected skew"]["time"] == "2025-03-01T09:59:56.000Z"
    assert events["ts epoch ms"]["time"] == events["ts epoch str"]["time"] == "2025-03-01T10:00:00.000Z"
    assert events["ts bigquery"]["time"] == "2025-03-01T10:00:00.123Z"
    assert events["lower currency"]["data"]["currency"] == "EUR"
    assert events["w"]["data"] == {
        "channel": "web",
        "touchpoint": "checkout",
        "stage": "purchase",
        "amount": 5,
        "currency": "USD",
    }
    told = {problem.line: problem.reason for problem in problems}
    assert [line for line, reason in told.items() if reason == "doubtful_customer"] == [5, 6, 7, 8, 9]
    assert report.skipped == {segment.ANONYMOUS: 2}
    assert not {1, 2, 3, 37, 38, 39} & set(told)


@pytest.mark.parametrize(
    "customer",
    [
        "null",
        "NULL",
        "undefined",
        "None",
        "NaN",
        "[object Object]",
        " ",
        "\t",
        " null ",
        "anonymous",
        "0" * 32,
        -1,
        False,
        "\u200b",
        "{{user.id}}",
        "[]",
    ],
)
@pytest.mark.parametrize("name", ["userId", "user_id"])
def test_a_word_for_nobody_is_no_customer(tmp_path: Path, name: str, customer: str | float) -> None:
    record = {"messageId": "m", "type": "page", "name": "Home", "timestamp": TIME, name: customer}
    found = Converted(tmp_path, [record])
    assert [problem.reason for problem in found.problems] == ["doubtful_customer"]
    assert not found.events
    assert not found.report.skipped


@pytest.mark.parametrize("customer", ["0", "000", "nullius", "Anonymous Coward", "nano"])
def test_a_customer_that_looks_like_one_is_kept(tmp_path: Path, customer: str) -> None:
    found = Converted(tmp_path, [track("Product Viewed", userId=customer)])
    assert [event["subject"] for event in found.events] == [customer]


@pytest.mark.parametrize(
    "where",
    [{"user": {"id": "u1"}}, {"context": {"traits": {"user_id": "u1"}}}, {"userID": "u1"}, {"foo": 1}],
)
def test_who_has_a_user_elsewhere_is_not_counted_as_a_visitor(tmp_path: Path, where: dict[str, Any]) -> None:
    record = {"messageId": "m", "event": "Product Viewed", "timestamp": TIME, **where}
    found = Converted(tmp_path, [record])
    assert [(problem.field, problem.reason) for problem in found.problems] == [("userId", "missing")]
    assert not found.report.skipped


def test_the_skew_of_a_clock_is_taken_out(tmp_path: Path) -> None:
    def record(original: str, sent: Any, received: Any, **more: Any) -> dict[str, Any]:
        times = {"originalTimestamp": original, "sentAt": sent, "receivedAt": received, **more}
        return {"type": "page", "messageId": "m", "userId": "a", **times}

    late, sent, came = "2030-01-01T10:00:00Z", "2030-01-01T10:05:00Z", "2025-03-01T10:05:02Z"
    found = Converted(
        tmp_path,
        [
            record(late, sent, came),
            record(late, sent, came, timestamp=TIME),
            record(late, None, came),
            record(late, sent, None),
            record(late, "soon", came),
            record("2025-03-01T09:00:00Z", 1_740_823_200, "2025-03-01T10:00:01.5Z"),
        ],
    )
    assert [event["time"] for event in found.events] == [
        "2025-03-01T10:00:02.000Z",
        TIME,
        "2030-01-01T10:00:00.000Z",
        "2030-01-01T10:00:00.000Z",
        "2030-01-01T10:00:00.000Z",
        "2025-03-01T09:00:01.500Z",
    ]
    assert found.report.notes[CORRECTED] == 1


@pytest.mark.parametrize(
    "value",
    [
        1740823200,
        1740823200.0,
        "1740823200",
        1740823200000,
        "1740823200000",
        1740823200000000,
        1740823200000000000,
        "2025-03-01 10:00:00 UTC",
        "2025-03-01T11:00:00+01:00",
        " 2025-03-01T10:00:00Z ",
    ],
)
@pytest.mark.parametrize("name", ["timestamp", "originalTimestamp"])
def test_times_of_any_kind(tmp_path: Path, name: str, value: Any) -> None:
    record = {"type": "page", "messageId": "m", "userId": "a", name: value}
    assert [event["time"] for event in Converted(tmp_path, [record]).events] == ["2025-03-01T10:00:00.000Z"]


@pytest.mark.parametrize(
    "value", ["soon", True, [], {"a": 1}, 1e40, float(10**18) * 1e4, "2025-03-01T10:00:00"]
)
def test_a_time_that_cannot_be_read_is_a_problem(tmp_path: Path, value: Any) -> None:
    record = {"type": "page", "messageId": "m", "userId": "a", "timestamp": value}
    assert [problem.reason for problem in Converted(tmp_path, [record]).problems] == ["unreadable_time"]


def test_bodies_share_what_is_beside_the_batch(tmp_path: Path) -> None:
    item = {"type": "page", "userId": "a", "originalTimestamp": "2025-03-01T09:00:00Z", "name": "Home"}
    body = {
        "batch": [{**item, "messageId": "1"}, {**item, "messageId": "2", "context": {}}, {"type": "page"}, 7],
        "sentAt": "2025-03-01T10:00:00Z",
        "receivedAt": "2025-03-01T10:00:01Z",
        "context": {"device": {"type": "ios"}},
    }
    found = Converted(tmp_path, [body])
    assert [(event["time"], event["data"]["channel"]) for event in found.events] == [
        ("2025-03-01T09:00:01.000Z", "app"),
        ("2025-03-01T09:00:01.000Z", "web"),
    ]
    assert [problem.reason for problem in found.problems] == ["not_json"]
    assert found.report.skipped == {segment.ANONYMOUS: 1}
    assert sum(found.report.rows.values()) == 4


ROW = {
    "id": "m1",
    "user_id": "ada",
    "event": "order_completed",
    "event_text": "Order Completed",
    "original_timestamp": "2025-03-01 10:00:00.000",
    "sent_at": "2025-03-01 10:00:01.000",
    "received_at": "2025-03-01 10:00:03.000",
    "total": "12.50",
    "currency": "eur",
    "order_id": "o1",
    "context_device_type": "ios",
}


def _upper(row: dict[str, Any]) -> dict[str, Any]:
    return {name.upper(): value for name, value in row.items()}


@pytest.mark.parametrize("form", ["ndjson", "upper", "csv", "parquet", "array"])
def test_rows_of_a_warehouse(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    if form == "csv":
        path.write_text(",".join(ROW) + "\n" + ",".join(ROW.values()) + "\n", "utf-8")
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist([ROW]), path)
    elif form == "array":
        path.write_text(json.dumps([ROW], indent=1), "utf-8")
    else:
        path.write_text(json.dumps(ROW if form == "ndjson" else _upper(ROW)), "utf-8")
    report = Report()
    out = io.BytesIO()
    write(segment.drafts([path], report), out, report, in_order=False)
    (event,) = map(msgspec.json.decode, out.getvalue().splitlines())
    assert (event["id"], event["subject"], event["time"]) == ("m1", "ada", "2025-03-01T10:00:02.000Z")
    assert event["data"] == {
        "channel": "app",
        "touchpoint": "checkout",
        "stage": "purchase",
        "order_id": "o1",
        "amount": 12.5,
        "currency": "EUR",
    }


def test_pages_and_visitors_of_a_warehouse(tmp_path: Path) -> None:
    page = {"id": "p", "path": "/help", "timestamp": "2025-03-01 10:00:00"}
    found = Converted(tmp_path, [{**page, "user_id": "ada"}, {**page, "user_id": None, "anonymous_id": "x"}])
    assert [event["data"]["touchpoint"] for event in found.events] == ["/help"]
    assert found.report.skipped == {segment.ANONYMOUS: 1}


@pytest.mark.parametrize(
    "name", ["Order Completed", "order completed", "order_completed", "OrderCompleted", " ORDER-COMPLETED"]
)
def test_names_of_events_in_any_spelling(tmp_path: Path, name: str) -> None:
    found = Converted(tmp_path, [track(name, type="Track", properties={"total": 1, "currency": "eur"})])
    assert [event["type"] for event in found.events] == ["cx.touchpoint.purchase.v1"]


def test_a_mapping_sees_names_as_they_are(tmp_path: Path) -> None:
    own = """
        [[event]]
        kind = "contact"
        when = { event = "order_completed" }
        data = { channel = "call" }
    """
    found = Converted(
        tmp_path, [track("order_completed"), track("Order Completed", properties={"total": 1})], own
    )
    assert [event["type"].split(".")[2] for event in found.events] == ["contact", "purchase"]
