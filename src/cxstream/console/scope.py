"""What a page is about: the period, what it is compared with, and which touchpoints. It stands in the address.

    ?period=7d&where=segment=gold&where=channel!=social
    ?since=2026-03-01&until=2026-03-08

A named period ends with the last touchpoint of the read model, not with the clock: files end when they end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from cxstream.model.errors import InputError
from cxstream.warehouse.views.selection import Selection, parse_filter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from urllib.parse import SplitResult

    from starlette.datastructures import QueryParams

    from cxstream.warehouse.views.selection import Filter

PERIODS = {"1d": 1, "7d": 7, "28d": 28, "90d": 90}
"""Named periods, in days."""
DEFAULT = "7d"

# What does not hold any more on another view of the page: the scope, which is added again, a place in a list, a download.
_NAMES = ("period", "since", "until", "where", "after", "table")
_TREND_DAYS = 28


@dataclass(frozen=True, slots=True)
class Scope:
    """The period and the touchpoints that a page is about.

    Attributes:
        period: a key of PERIODS, or "" for a period of its own.
        since: its start, UTC without a zone.
        until: its end, exclusive.
        where: filters as the address has them.
        first: time of the first touchpoint of the read model; None if it is empty.
        few: fewer visits than this give no figure.
        teams: patterns of agents by team.
    """

    period: str
    since: datetime
    until: datetime
    where: tuple[str, ...]
    first: datetime | None
    few: int
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters, read."""
        return tuple(parse_filter(text) for text in self.where)

    @property
    def days(self) -> float:
        """Length of the period."""
        return (self.until - self.since) / timedelta(days=1)

    @property
    def dates(self) -> list[date]:
        """The days of the period, where it begins and ends at midnight."""
        return [(self.since + timedelta(days=n)).date() for n in range((self.until - self.since).days)]

    @property
    def before(self) -> Scope:
        """The period before, as long as this one."""
        return replace(self, since=self.since - (self.until - self.since), until=self.since)

    @property
    def has_before(self) -> bool:
        """Whether the read model goes back to where the period before begins."""
        return self.first is not None and self.first <= self.before.since + timedelta(days=1)

    @property
    def trend(self) -> Scope:
        """Whole days up to the end of the period, four weeks or more, for lines over time."""
        end = datetime.combine((self.until - timedelta(microseconds=1)).date(), datetime.min.time())
        until = end + timedelta(days=1)
        since = min(until - timedelta(days=_TREND_DAYS), self.since)
        return replace(self, since=datetime.combine(since.date(), datetime.min.time()), until=until)

    def selection(self, **more: Any) -> Selection:
        """What to ask a view for.

        Args:
            more: further attributes of the selection; `where` is added to the filters of the scope.
        """
        where = (*self.filters, *more.pop("where", ()))
        window: dict[str, Any] = {"since": self.since, "until": self.until}
        return Selection(**window, where=where, few=self.few, teams=self.teams, **more)

    def parameters(self) -> list[tuple[str, str]]:
        """The scope as it stands in an address; nothing for what holds anyway."""
        if self.period:
            named = [] if self.period == DEFAULT else [("period", self.period)]
        else:
            named = [("since", _text(self.since)), ("until", _text(self.until))]
        return [*named, *(("where", text) for text in self.where)]


def parse(params: QueryParams, first: datetime | None, last: datetime | None, few: int) -> Scope:
    """The scope that an address asks for.

    Args:
        params: of the address.
        first: time of the first touchpoint.
        last: time of the last touchpoint.
        few: fewer visits than this give no figure.

    Raises:
        InputError: it names no period, no time or no filter.
    """
    where = tuple(text for text in params.getlist("where") if text)
    for text in where:
        parse_filter(text)
    if params.get("since") or params.get("until"):
        since, until = _time("since", params.get("since")), _time("until", params.get("until"))
        if since >= until:
            raise InputError(f"since={params['since']} is not before until={params['until']}")
        return Scope("", since, until, where, first, few)
    period = params.get("period") or DEFAULT
    if period not in PERIODS:
        raise InputError(f"period={period}: is none of {', '.join(PERIODS)}")
    end = _end(last)
    return Scope(period, end - timedelta(days=PERIODS[period]), end, where, first, few)


def address(path: str, scope: Scope | None, more: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> str:
    """An address with the scope and more parameters in it; parameters that are None or empty are left out."""
    pairs = more.items() if hasattr(more, "items") else more
    found = [
        *(scope.parameters() if scope else []),
        *((name, value) for name, value in pairs if value not in (None, "")),
    ]
    return f"{path}?{urlencode(found)}" if found else path


def split(text: str) -> SplitResult | None:
    """The parts of an address; None for what is none, such as `//[`."""
    try:
        return urlsplit(text)
    except ValueError:
        return None


def quoted(value: str) -> str:
    r"""A value as it stands in a filter, where a comma divides values.

    >>> quoted("Washing, ironing")
    'Washing\\, ironing'
    """
    return value.replace("\\", "\\\\").replace(",", "\\,")


def others(params: QueryParams) -> list[tuple[str, str]]:
    """The parameters that stay when the scope or a choice changes."""
    return [(name, value) for name, value in params.multi_items() if name not in _NAMES]


def _end(last: datetime | None) -> datetime:
    """The end of the hour of the last touchpoint."""
    if last is None:
        return datetime(1971, 1, 1)  # noqa: DTZ001 - nothing is there to be shown
    return last.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%d}" if time.time() == datetime.min.time() else f"{time:%Y-%m-%dT%H:%M}"


def _time(name: str, text: str | None) -> datetime:
    try:
        found = datetime.fromisoformat(text or "").replace(tzinfo=None)
    except ValueError as error:
        raise InputError(f"{name}={text or ''}: is no day, such as 2026-03-01") from error
    if not 1971 <= found.year < 8999:  # noqa: PLR2004
        raise InputError(f"{name}={text}: is not between the years 1971 and 8999")
    return found
