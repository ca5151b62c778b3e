"""The account of a conversion: rows read, events written, rows left out, problems by line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from cxstream.convert.nothing import doubt
from cxstream.convert.paths import PathSurvey
from cxstream.logs.counted import are, counted
from cxstream.logs.printable import printable
from cxstream.model.errors import CxstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.convert.survey import Survey


_MAX_SHOWN = 500
"""Characters of a problem that are shown; names of columns and values can have any length."""


class RowProblemError(CxstreamError):
    """A row, or one of its values, that cannot be converted; the rest of the input goes on.

    Attributes:
        field: the column or attribute at fault, "" where it is the whole row.
        reason: a short code to count by, such as `unreadable_time`.
        message: what was found.
    """

    def __init__(self, field: str, reason: str, message: str) -> None:
        super().__init__(f"{field}: {reason}: {message}")
        self.field = field
        self.reason = reason
        self.message = message


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


class Problem(Struct, frozen=True):
    """A problem and where it is.

    Attributes:
        file: name of the input, as it was given.
        line: 1-based line on which the row begins.
        field: the column or attribute at fault, "" where it is the whole row.
        reason: a short code to count by.
        message: what was found.
    """

    file: str
    line: int
    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " + (f"{self.field}: " if self.field else "")
        return _short(printable(f"{where}{self.reason}: {self.message}"))

    def encode(self) -> bytes:
        """The problem as JSON in one line; what is no Unicode in a name or value is written as an escape."""
        texts = (self.file, self.field, self.reason, self.message)
        try:
            return msgspec.json.encode(self)
        except UnicodeEncodeError:
            file, field, reason, message = (
                text.encode("utf-8", "backslashreplace").decode() for text in texts
            )
            return msgspec.json.encode(Problem(file, self.line, field, reason, message))


@dataclass(slots=True)
class Order:
    """Whether the events come in the order of time.

    Attributes:
        behind: events older than one before them.
        ahead: events newer than the one just before them.
        worst: how far an event lies behind the latest one before it, at most, in ms.
        before: the event time just before, in ms UTC.
    """

    before: int = 0
    behind: int = 0
    ahead: int = 0
    worst: int = 0

    def hints(self) -> Iterator[str]:
        """What to do about events that are out of order."""
        if self.behind:
            found = (
                "the events are newest first"
                if self.behind > 9 * self.ahead
                else f"{counted(self.behind, 'event')} {are(self.behind)} older than one before"
            )
            hours = self.worst / 3_600_000
            far = f"{hours / 24:,.0f} days" if hours >= 48 else f"{hours:,.1f} hours"  # noqa: PLR2004
            yield f"{found}, by up to {far}; --sort writes them in the order of time"


@dataclass(slots=True)
class Doubt:
    """Ids of one attribute that are doubtful for one reason.

    Attributes:
        why: the reason.
        text: the first one.
        file: where that is.
        line: where that is.
        count: how many there are.
    """

    why: str
    text: str
    file: str
    line: int
    count: int = 0


@dataclass(slots=True)
class Report:
    """Counts everything that happens to the input.

    Attributes:
        on_problem: is told each problem as it is found.
        on_bytes: is told how many more bytes of input were taken.
        rows: rows read, by file.
        events: events written, by kind.
        skipped: rows left out on purpose, by reason.
        problems: events that could not be made, by reason.
        notes: what a reader of the result ought to know, with how often it happened.
        surveys: what the times of each column look like, by the mapping's words for it.
        span: first and last event time written, in ms UTC; None where nothing is.
        order: whether the events are in the order of time.
        paths: which paths of a mapping were found in JSON records.
        doubts: ids that may be none, by attribute and why.
    """

    on_problem: Callable[[Problem], None] = lambda _: None
    on_bytes: Callable[[int], None] = lambda _: None
    rows: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    surveys: dict[str, Survey] = field(default_factory=dict)
    span: tuple[int, int] | None = None
    order: Order = field(default_factory=Order)
    paths: PathSurvey = field(default_factory=PathSurvey)
    doubts: dict[tuple[str, str], Doubt] = field(default_factory=dict)

    def look_at(self, attribute: str, text: str, file: str, line: int) -> None:
        """Count an id that may be none: `nan` as a customer is many customers in one."""
        why, by_itself = doubt(text)
        if why:
            found = self.doubts.setdefault(
                (attribute, text if by_itself else why), Doubt(why, text, file, line)
            )
            found.count += 1

    def hints(self) -> Iterator[str]:
        """What may be wrong with the mapping or the input as a whole, a sentence each."""
        for survey in self.surveys.values():
            yield from survey.hints()
        yield from self.order.hints()
        yield from self.paths.hints()

    def problem(self, file: str, line: int, field: str, reason: str, message: str) -> None:
        """Count a problem and pass it on."""
        self.problems[reason] += 1
        self.on_problem(Problem(file, line, field, reason, message))

    def row_problem(self, file: str, line: int, error: RowProblemError) -> None:
        """Count what a row raised and pass it on."""
        self.problem(file, line, error.field, error.reason, error.message)
