"""Segment-style records out of the shapes that they travel in: lines, arrays, batch bodies, rows of a warehouse.

    {"type": "track", "userId": ...}                   a record
    {"batch": [{...}, {...}], "sentAt": ...}           what libraries send: several, with what they share
    {"event_text": ..., "user_id": ..., "total": ...}  a row of a warehouse: other names, properties beside them
    {"EVENT_TEXT": ..., "USER_ID": ...}                the same out of Snowflake

A record without a customer is a visitor, which is counted; one whose customer is a word for nobody is a problem: all
of those would be scored as one customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.convert.nothing import doubt
from cxstream.convert.paths import json_columns, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cxstream.convert.report import Report

ANONYMOUS = "no customer id: a visitor who is not known yet"

_WAREHOUSE = frozenset(
    {
        "user_id",
        "anonymous_id",
        "message_id",
        "original_timestamp",
        "received_at",
        "sent_at",
        "event_text",
        "uuid_ts",
    }
)
_SHARED = ("sentAt", "receivedAt", "context", "integrations")
# "0" and "000" may be somebody, and are only told as doubtful; a UUID of zeros is nobody.
_LONG = 32
_ABOUT_SOMEBODY = {"identify", "group", "alias"}
_TYPES = {"track", "page", "screen"} | _ABOUT_SOMEBODY
_ELSEWHERE = (
    "userID",
    "UserId",
    "userid",
    "user.id",
    "user.internal_id",
    "context.userId",
    "context.user_id",
    "context.traits.userId",
    "context.traits.user_id",
    "traits.userId",
    "traits.user_id",
)
_FIND = [(path, json_columns(path)) for path in _ELSEWHERE]


def is_warehouse(row: dict[str, Any]) -> bool:
    """Whether a record is a row of a warehouse, by the names of its columns."""
    return "userId" not in row and not _WAREHOUSE.isdisjoint(row)


def customer_of(row: dict[str, Any]) -> Any:
    """Whom a record names as the customer; texts without the blanks around them."""
    found = row.get("userId")
    if found is None:
        found = row.get("user_id")
    return found.strip() if isinstance(found, str) else found


def of_customers(
    rows: Iterable[tuple[int, dict[str, Any]]], name: str, report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records that name a customer, each with its line.

    Args:
        rows: records, bodies and rows of a warehouse.
        name: of the input.
        report: counts visitors, and hears of records whose customer cannot be told.
    """
    for line, body in rows:
        items = body.get("batch")
        if isinstance(items, list):
            report.rows[name] += len(items) - 1
            shared = {key: body[key] for key in _SHARED if key in body}
            for item in items:
                if isinstance(item, dict):
                    yield from _of_customer(line, {**shared, **item}, name, report)
                else:
                    report.problem(name, line, "batch", "not_json", f"holds no object but {str(item)[:40]!r}")
        else:
            yield from _of_customer(line, body, name, report)


def _of_customer(
    line: int, record: dict[str, Any], name: str, report: Report
) -> Iterator[tuple[int, dict[str, Any]]]:
    if "USER_ID" in record or "ANONYMOUS_ID" in record:
        record = {key.lower(): value for key, value in record.items()}
    customer = customer_of(record)
    if customer is None or (customer == "" and not (record.get("userId") or record.get("user_id"))):
        _without(line, record, name, report)
    elif _is_nobody(customer):
        as_sent = record["userId"] if record.get("userId") is not None else record.get("user_id")
        message = f"{as_sent!r} is no customer, and many records may have it; mend the site that sends it"
        report.problem(name, line, "userId", "doubtful_customer", message)
    else:
        yield line, record


def _is_nobody(found: Any) -> bool:
    customer = written(found)
    if customer is None:
        return False
    _, by_itself = doubt(customer)
    return not customer or (by_itself and (customer.strip("0") != "" or len(customer) >= _LONG))


def _without(line: int, record: dict[str, Any], name: str, report: Report) -> None:
    """Count a visitor; tell a record that has a customer in another place, or is of another kind."""
    kind = str(record.get("type", "")).lower()
    other = None
    if kind not in _ABOUT_SOMEBODY:
        other = next(((path, found) for path, find in _FIND if (found := find(record)) is not None), None)
    if other is not None:
        message = f"is empty, but {other[0]} is {str(other[1])[:40]!r}; copy it to userId"
        report.problem(name, line, "userId", "missing", message)
    elif kind in _TYPES or not {"userId", "user_id", "anonymousId", "anonymous_id"}.isdisjoint(record):
        report.skipped[ANONYMOUS] += 1
    else:
        message = "has neither userId nor anonymousId nor a type of Segment's; use 'cxstream convert mapping'"
        report.problem(name, line, "userId", "missing", message)
