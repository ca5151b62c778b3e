"""What the times of a column look like as a whole: hints that no single row could give.

A format that reads every row can still be the wrong one: day and month swapped, or seconds taken for milliseconds. The
survey counts what tells such a format from the right one, and keeps some of the values that could not be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cxstream.convert.formats import swapped
from cxstream.convert.times import PER_SECOND, LocalClock, parser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

# With the day before, where -1 stands for no time.
_JANUARY_1970_MS = (-86_400_000, 31 * 86_400_000)
# Years in which touchpoints are likely: 1990 to 2100.
_LIKELY_MS = (631_152_000_000, 4_102_444_800_000)
_SAMPLES = 50
_LAST_MONTH = 12
_PLACEHOLDERS = {(1, 1, 1), (1753, 1, 1), (1899, 12, 30), (1899, 12, 31), (1900, 1, 1)}
_OBVIOUS = (
    "iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns",
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d.%m.%y %H:%M", "%d.%m.%y",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y",
    "%d/%m/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M %p", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y",
    "%m/%d/%y %I:%M %p", "%m/%d/%y %H:%M", "%m/%d/%y", "%d/%m/%y %H:%M", "%d/%m/%y",
    "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d",
    "%Y%m%d%H%M%S", "%Y%m%d %H:%M:%S", "%Y%m%d", "%d %b %Y %H:%M:%S", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y", "%d-%b-%y",
    "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %Y %H:%M:%S GMT%z", "%a %b %d %H:%M:%S %Z %Y",
    "%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p",
    "excel",
)  # fmt: skip


_ZERO_DATE = "0000-00-00"


def is_placeholder(value: Any, ms: int | None, local: datetime | None) -> bool:
    """Whether a time is what programs write where there is none.

    Args:
        value: as it stands in the row.
        ms: ms UTC; None where it could not be read.
        local: date and time that the value says; None where it says none.
    """
    if ms == 0 or (isinstance(value, str) and value.startswith(_ZERO_DATE)):
        return True
    if local is None:
        return False
    day = (local.year, local.month, local.day)
    return (day in _PLACEHOLDERS and not (local.hour or local.minute)) or day == (9999, 12, 31)


@dataclass(slots=True)
class Survey:
    """Counts about one time of a mapping.

    Attributes:
        forms: its formats.
        read: values that were read.
        failed: values that were not.
        january_1970: values that fell into the first month of the epoch, or the day before.
        certain: values that were read and have a day after the 12th: day and month are in the right place.
        either: values that would be another day with day and month swapped.
        swapped: values that can only be read with day and month swapped.
        samples: some of the values that were not read.
        numbers: some of those that fell into January 1970.
        local: what the present value says, without its zone; None where it is a number of an epoch.
    """

    forms: list[str]
    read: int = 0
    failed: int = 0
    january_1970: int = 0
    certain: int = 0
    either: int = 0
    swapped: int = 0
    samples: list[Any] = field(default_factory=list)
    numbers: list[Any] = field(default_factory=list)
    local: datetime | None = None
    _back: list[Callable[[Any], int]] | None = None

    def set_local(self, local: datetime) -> None:
        """Take note of what the next value says, without its zone."""
        self.local = local

    def good(self, value: Any, ms: int) -> None:
        """Take note of a value that was read."""
        self.read += 1
        if _JANUARY_1970_MS[0] <= ms < _JANUARY_1970_MS[1]:
            self.january_1970 += 1
            if len(self.numbers) < _SAMPLES:
                self.numbers.append(value)
        if self.local is not None:
            if self.local.day > _LAST_MONTH:
                self.certain += 1
            elif self.local.day != self.local.month:
                self.either += 1

    def bad(self, value: Any) -> None:
        """Take note of a value that was not read."""
        self.failed += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append(value)
        if self._back is None:
            self._back = [_reads(form) for form in map(swapped, self.forms) if form]
        if any(_fits(one, value) for one in self._back):
            self.swapped += 1

    def hints(self) -> Iterator[str]:
        """What the mapping should perhaps say instead, a sentence each."""
        if self.read and self.january_1970 == self.read:
            yield self._seconds()
        elif self.january_1970:
            yield (
                f"{self.january_1970:,} of {self.read:,} times fall into January 1970, such as"
                f" {str(self.numbers[0])[:40]!r}: they are of another unit than the others, or stand for no time"
            )
        if self.swapped:
            yield self._days_and_months()
        elif self.failed:
            found = self._better()
            if found is not None:
                yield found

    def _seconds(self) -> str:
        unit = next(
            (
                form
                for form in PER_SECOND
                if form not in self.forms
                and all(_likely(parser(form, None), value) for value in self.numbers)
            ),
            None,
        )
        found = f"all {self.read:,} times fall into January 1970"
        if unit is None:
            return f"{found}; check the column and the format"
        return f'{found}: the numbers are of another unit; format = "{unit}" puts them into likely years'

    def _days_and_months(self) -> str:
        form, other = next((form, back) for form in self.forms if (back := swapped(form)))
        only = f"{self.swapped:,} of {self.read + self.failed:,} times can only be read as {other!r}, not as {form!r}"
        if self.certain:
            return (
                f"{only}, and {self.certain:,} only the other way: the column mixes both orders of day and month, and"
                f" {self.either:,} times that were read may have them swapped"
            )
        return (
            f"{only}: day and month are probably swapped, and the {self.either:,} times that were read are probably"
            f" on wrong days; try format = {other!r}"
        )

    def _better(self) -> str | None:
        """The format that reads most of the samples, where it reads more than half."""
        best, most = "", len(self.samples) // 2
        for form in _OBVIOUS:
            if form not in self.forms:
                one = _reads(form)
                count = sum(_likely(one, value) for value in self.samples)
                if count > most:
                    best, most = form, count
        if not best:
            return None
        return (
            f"{self.failed:,} of {self.read + self.failed:,} times could not be read;"
            f' format = "{best}" reads {most:,} of the first {len(self.samples):,} of them'
        )


def _reads(form: str) -> Callable[[Any], int]:
    from collections import Counter

    return parser(form, LocalClock("UTC", Counter()))


def _fits(parse: Callable[[Any], int], value: Any) -> bool:
    try:
        parse(value)
    except (ValueError, OverflowError):
        return False
    return True


def _likely(parse: Callable[[Any], int], value: Any) -> bool:
    try:
        return _LIKELY_MS[0] <= parse(value) < _LIKELY_MS[1]
    except (ValueError, OverflowError):
        return False
