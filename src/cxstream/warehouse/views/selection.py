"""What a reader selects of a view: a window of time, filters, and groups. Values are bound, names come from closed lists."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from cxstream.model.errors import InputError
from cxstream.warehouse.views import steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from cxstream.warehouse.views.definition import View

Grain = Literal["hour", "day", "week", "month"]
GRAINS: tuple[Grain, ...] = get_args(Grain)
PERIOD = "period"
TEAM = "team"

_FILTER = re.compile(r"\s*(\w+)\s*(!?=)(.*)", re.DOTALL)
_PART = re.compile(r"((?:[^,\\]|\\.)*)(?:,|$)", re.DOTALL)
_OPTION = re.compile(r"\s*(\w+)\s*=(.*)", re.DOTALL)


class Filter(NamedTuple):
    """A condition on a dimension.

    Attributes:
        dimension: its name.
        values: any of them; None stands for touchpoints that have no value there.
        negated: none of them.
    """

    dimension: str
    values: tuple[str | None, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a view is asked for.

    Attributes:
        since: start of the window, UTC without a zone; None for the first touchpoint.
        until: end of the window, exclusive; None for the last one.
        by: dimensions, or keys of the view, that get a row each.
        grain: of the column `period`; None without it.
        where: filters; all must hold.
        cell: values of columns of the result that select rows of it.
        columns: measures that are shown; empty for all.
        options: of the view, by name.
        few: fewer answers or visits than this give no figure.
        teams: patterns of agents by team, as `insights.teams` has them.
    """

    since: datetime | None = None
    until: datetime | None = None
    by: tuple[str, ...] = ()
    grain: Grain | None = None
    where: tuple[Filter, ...] = ()
    cell: dict[str, str | None] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    few: int = 10
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def asks_for_teams(self) -> bool:
        """Whether the rows need to know their team."""
        return TEAM in self.by or any(one.dimension == TEAM for one in self.where)

    def check(self, view: View) -> None:
        """Refuse what the view does not have.

        Raises:
            InputError: it names the thing, and says what there is.
        """
        for name in self.by:
            _known(name, view.dimensions, f"view {view.name} cannot be grouped by", "--by takes")
        if len(set(self.by)) < len(self.by):
            raise InputError(f"--by {','.join(self.by)}: names a dimension twice")
        for one in self.where:
            _known(one.dimension, view.dimensions, f"view {view.name} cannot be filtered by", "--where takes")
        if self.asks_for_teams and not self.teams:
            raise InputError(
                "there are no teams: name them and their agents in the setting insights.teams, such as "
                "billing = ['b-*', 'lead-7']"
            )
        for name in self.options:
            _known(name, tuple(view.options), f"view {view.name} has no option", "--set takes")
        if steps.OPTION in self.options:
            steps.read(self.options[steps.OPTION])
        for name in self.columns:
            _known(name, view.columns, f"view {view.name} has no column", "--columns takes")
        for name in self.cell:
            _known(
                name,
                self.row_names(view),
                f"view {view.name} has no column",
                "--cell takes columns that name a row:",
            )
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise InputError(f"--since {self.since} is not before --until {self.until}")

    def row_names(self, view: View) -> tuple[str, ...]:
        """The columns that name a row of the result."""
        return (*((PERIOD,) if self.grain else ()), *self.by, *view.keys)

    def conditions(self) -> tuple[list[str], dict[str, Any]]:
        """The filters and the window as SQL over columns `time` and the dimensions, and the values to bind."""
        conditions, values = filters(self.where)
        for name, sign, bound in (("since", ">=", self.since), ("until", "<", self.until)):
            if bound is not None:
                conditions.append(f"time {sign} $" + name)
                values[name] = bound
        return conditions, values


def filters(where: Iterable[Filter]) -> tuple[list[str], dict[str, Any]]:
    """Filters as SQL, and the values to bind. The dimensions must have been checked."""
    conditions = []
    values: dict[str, Any] = {}
    for number, (dimension, wanted, negated) in enumerate(_united(where)):
        name = f"where_{number}"
        values[name] = [value for value in wanted if value is not None]
        has = f'coalesce(list_contains(${name}::VARCHAR[], "{dimension}"), false)'
        if None in wanted:
            has = f'({has} OR "{dimension}" IS NULL)'
        conditions.append(f"NOT {has}" if negated else has)
    return conditions, values


def _united(where: Iterable[Filter]) -> list[Filter]:
    """Filters of one dimension as one: `channel=call` and `channel=chat` are either."""
    united: dict[tuple[str, bool], tuple[str | None, ...]] = {}
    for one in where:
        key = one.dimension, one.negated
        united[key] = (*united.get(key, ()), *one.values)
    return [Filter(dimension, values, negated) for (dimension, negated), values in united.items()]


def parse_filter(text: str) -> Filter:
    r"""A filter as the command line has it: `channel=call,chat`, `topic!=invoice`; `\,` is a comma within a value.

    An empty value stands for touchpoints without one: `topic=`.

    Raises:
        InputError: it is none.
    """
    found = _FILTER.fullmatch(text)
    if found is None:
        raise InputError(f"--where {text!r}: is not DIMENSION=VALUE,... or DIMENSION!=VALUE,...")
    return Filter(found[1], values_of(found[3]), found[2] == "!=")


def values_of(text: str) -> tuple[str | None, ...]:
    """The values of a list with commas; None for an empty one."""
    parts = [re.sub(r"\\(.)", r"\1", part) for part in _PART.findall(text)]
    # The pattern also finds the nothing after the last value.
    return tuple(
        part or None for part in (parts[:-1] if len(parts) > 1 and not text.endswith(",") else parts)
    )


def parse_assignment(text: str, option: str) -> tuple[str, str]:
    """`NAME=VALUE` of the command line.

    Raises:
        InputError: it is none.
    """
    found = _OPTION.fullmatch(text)
    if found is None:
        raise InputError(f"{option} {text!r}: is not NAME=VALUE")
    return found[1], found[2]


def _known(name: str, known: tuple[str, ...], problem: str, advice: str) -> None:
    if name not in known:
        raise InputError(f"{problem} {name!r}; {advice} {', '.join(known) or 'nothing'}")
