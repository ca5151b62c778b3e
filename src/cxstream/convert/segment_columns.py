"""Values out of Segment-style records under the names that the mapping of them uses.

In a row of a warehouse `properties.order_id` is the column `order_id`, `context.device.type` is `context_device_type`,
and `userId` is `user_id`. Names of events and types are the same in any spelling, for the built-in table.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cxstream.convert.paths import json_columns
from cxstream.convert.segment_records import customer_of, is_warehouse
from cxstream.convert.times import parser
from cxstream.model.rfc3339 import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cxstream.convert.report import Report
    from cxstream.convert.values import Columns, Get

TIME = "timestamp/originalTimestamp"
"""The name of the time of a record: `timestamp`, else `originalTimestamp` corrected by the skew of the device's clock."""

CORRECTED = "times of clocks that were wrong by more than a minute: corrected by sentAt and receivedAt"

_SKEW_TOLD_MS = 60_000
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_EPOCH = re.compile(r"\d{9,19}(?:\.\d+)?")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s_-]+")
# Seconds, milliseconds, microseconds and nanoseconds since 1970 are told apart from 1973 to 5138.
_UNITS = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3))
_NANOSECONDS = 1e-6


def columns_of(report: Report, events: Iterable[str] = ()) -> Columns:
    """The way to the values of records.

    Args:
        report: hears how many times were corrected.
        events: names of events that are meant in any spelling; with them types are in small letters.
    """
    canonical = {_even(name): name for name in events}

    def columns(name: str) -> Get:
        if name == TIME:
            return _time(report)
        if name == "userId":
            return customer_of
        find = _find(name)
        if name == "properties.currency":
            return lambda row: _currency(find(row))
        if canonical and name == "event":
            return lambda row: _named(find(row), canonical)
        if canonical and name == "type":
            return lambda row: kind.lower() if isinstance(kind := find(row), str) else kind
        return find

    return columns


def _find(name: str) -> Get:
    find = json_columns(name)
    others = _in_warehouse(name)

    def get(row: dict[str, Any]) -> Any:
        if not is_warehouse(row):
            return find(row)
        for other in others:
            if (value := row.get(other)) is not None and value != "":
                return value
        return _kind(row) if name == "type" else find(row)

    return get


def _in_warehouse(name: str) -> list[str]:
    """What a warehouse calls a value."""
    if name == "event":
        return ["event_text", "event"]
    if name == "messageId":
        return ["message_id", "id"]
    flat = name.removeprefix("properties.").replace(".", "_")
    return [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", flat).lower()]


def _kind(row: dict[str, Any]) -> str | None:
    """The type of a row, which a warehouse tells by the table that it is in."""
    if row.get("event") or row.get("event_text"):
        return "track"
    return "page" if row.get("url") or row.get("path") else None


def _even(event: str) -> str:
    return " ".join(_WORDS.sub(" ", event).lower().split())


def _named(event: Any, canonical: dict[str, str]) -> Any:
    return canonical.get(_even(event), event) if isinstance(event, str) else event


def _currency(code: Any) -> Any:
    text = code.strip() if isinstance(code, str) else code
    return text.upper() if isinstance(text, str) and _CURRENCY.fullmatch(text) else text


def _time(report: Report) -> Get:
    given, original = _find("timestamp"), _find("originalTimestamp")
    sent, received = _find("sentAt"), _find("receivedAt")
    parse = parser("iso", None)

    def get(row: dict[str, Any]) -> Any:
        value = given(row)
        if value is not None:
            return _readable(value, row)
        value = _readable(original(row), row)
        instants = [
            _ms(each, parse) for each in (value, _readable(sent(row), row), _readable(received(row), row))
        ]
        at, left, came = instants
        if at is None or left is None or came is None:
            return value
        # timestamp = receivedAt - (sentAt - originalTimestamp): both of the latter are on the device's clock.
        if abs(came - left) > _SKEW_TOLD_MS:
            report.notes[CORRECTED] += 1
        return rfc3339(came - (left - at))

    return get


def _ms(value: Any, parse: Callable[[Any], int]) -> int | None:
    try:
        return None if value is None else parse(value)
    except (ValueError, OverflowError):
        return None


def _readable(value: Any, row: dict[str, Any]) -> Any:
    """A time as ISO text: of a number since 1970, of BigQuery's ` UTC`, of a warehouse's without an offset."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _since_1970(float(value), value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _EPOCH.fullmatch(text):
        return _since_1970(float(text), value)
    if text.endswith(" UTC"):
        return f"{text[:-4]}+00:00"
    return f"{text}Z" if is_warehouse(row) and _is_local(text) else text


def _is_local(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def _since_1970(number: float, value: Any) -> Any:
    scale = next((scale for limit, scale in _UNITS if abs(number) < limit), _NANOSECONDS)
    try:
        return rfc3339(int(number * scale))
    except (ValueError, OverflowError):
        return value
