"""The call log of "Anonymous Bank" (Guedj and Mandelbaum, Technion, 1999) as contacts by telephone.

- A contact is timed by the call's entry into the voice menu, on the clock of Jerusalem.
- `wait_s` is the time in the queue (0 for a call that never queued), not the time in the voice menu, where the
  caller is the one who speaks.
- A call that ends with HANG is abandoned, also one that hung up in the voice menu and never queued: the log's
  own description calls it so. `touchpoint` tells the two apart.
- Whether an AGENT resolved the matter is not known, and not said.
- PHANTOM calls are nobody's and are left out. So are callers whom the system did not identify, unless each of
  their calls is wanted as a customer of its own.
- Some long customer ids were rounded by a spreadsheet (`6.02701E+11`): they stay apart from each other only as
  far as they still differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cxstream.convert.drafts import Draft
from cxstream.convert.report import RowProblemError
from cxstream.convert.rows import Table
from cxstream.convert.times import LocalClock, local_parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cxstream.convert.report import Report

ZONE = "Asia/Jerusalem"
TOPICS = {
    "PS": "regular activity",
    "PE": "regular activity in English",
    "IN": "internet banking",
    "NE": "stock exchange",
    "NW": "prospective customer",
    "TT": "call back",
}
PHANTOM = "PHANTOM: a virtual call of the switchboard"
UNIDENTIFIED = "caller not identified: customer_id is 0"

_COLUMNS = (
    "vru+line",
    "call_id",
    "customer_id",
    "priority",
    "type",
    "date",
    "vru_entry",
    "q_start",
    "q_time",
    "outcome",
    "ser_time",
    "server",
)
_local = local_parser("%Y%m%d %H:%M:%S")


class _Call(NamedTuple):
    """A row of the log: the columns above."""

    line: str
    call_id: str
    customer_id: str
    priority: str
    type: str
    date: str
    entry: str
    queued: str
    wait: str
    outcome: str
    service: str
    server: str


def drafts(
    paths: Sequence[Path], report: Report, *, unidentified: Literal["skip", "per-call"] = "skip"
) -> Iterator[Draft]:
    """The contacts of the log, in the order of the files.

    Args:
        paths: the log, a month or more of it, tab separated.
        report: counts calls, and hears of problems and of calls left out.
        unidentified: leave callers without a customer id out, or give each such call a subject of its own.

    Raises:
        InputError: a file cannot be read or lacks a column.
    """
    clock = LocalClock(ZONE, report.notes)
    for path in paths:
        table = Table(path, report, delimiter="\t", quote=None)
        for row, cells in table.select(*_COLUMNS):
            try:
                draft = _contact(
                    _Call(*map(str.strip, cells)), report, clock, unidentified, (table.name, row)
                )
            except RowProblemError as error:
                report.row_problem(table.name, row, error)
            else:
                if draft is not None:
                    yield draft


def _contact(
    call: _Call, report: Report, clock: LocalClock, unidentified: str, where: tuple[str, int]
) -> Draft | None:
    if call.outcome == "PHANTOM":
        report.skipped[PHANTOM] += 1
        return None
    identity = f"{call.date}-{call.line}-{call.call_id}"
    customer = _customer(call.customer_id)
    if customer is None:
        if unidentified == "skip":
            report.skipped[UNIDENTIFIED] += 1
            return None
        customer = f"call-{identity}"
    return Draft(
        "contact", identity, "anonymous-bank/calls", customer, _time(call, clock), _data(call), *where
    )


def _customer(text: str) -> str | None:
    """The customer id without what a spreadsheet did to it; None for a caller who is not identified."""
    try:
        number = int(float(text))
    except (ValueError, OverflowError):
        raise RowProblemError("customer_id", "unreadable_number", f"{text!r} is no customer id") from None
    return str(number) if number else None


def _time(call: _Call, clock: LocalClock) -> int:
    try:
        return clock.ms(_local(f"19{call.date} {call.entry}"))
    except ValueError as error:
        raise RowProblemError("date/vru_entry", "unreadable_time", str(error)) from error


def _data(call: _Call) -> dict[str, Any]:
    if call.outcome not in {"AGENT", "HANG"}:
        raise RowProblemError(
            "outcome", "unmapped_value", f"{call.outcome!r} is none of AGENT, HANG, PHANTOM"
        )
    if call.type not in TOPICS:
        raise RowProblemError("type", "unmapped_value", f"{call.type!r} is none of {', '.join(TOPICS)}")
    served = call.outcome == "AGENT"
    queued = call.queued != "0:00:00"
    data: dict[str, Any] = {
        "channel": "call",
        "touchpoint": "call centre" if served or queued else "voice menu",
        "stage": "service",
        "topic": TOPICS[call.type],
        "wait_s": _seconds("q_time", call.wait),
        "abandoned": not served,
    }
    if served:
        data["handle_s"] = _seconds("ser_time", call.service)
        if call.server != "NO_SERVER":
            data["agent"] = call.server
    if call.priority == "2":
        data["segment"] = "priority"
    return data


def _seconds(column: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RowProblemError(column, "unreadable_number", f"{text!r} is no number of seconds") from None
