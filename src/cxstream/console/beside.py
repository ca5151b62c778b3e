"""Journeys of customers who left beside those of customers who stayed: ends, steps, funnel and paths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from cxstream.console import chance, charts, figures
from cxstream.console.figures import Cell, Estimate, Grid, Measure
from cxstream.console.language import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from cxstream.console.figures import Difference
    from cxstream.console.language import Language
    from cxstream.console.reader import Row

T = TypeVar("T")
LEFT, STAYED = "left", "stayed"
SIDES = (LEFT, STAYED)
TITLES = {LEFT: N_("Who left"), STAYED: N_("Who stayed")}
_SHARE = Measure("share", "", scale=100, up="")
_EFFORT = Measure("effort", "", decimals=2, up="worse", tone="e")
Edge = tuple[int, str, str | None, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """How many journeys of each side have something.

    Attributes:
        left: of who left.
        stayed: of who stayed.
        totals: all journeys of each side.
        most: the counts are at most these, where it is not known how many they are.
        few: a side of fewer journeys has no share.
        p_adjusted: of no difference, for all comparisons of the table at once; None where it is not one of them.
    """

    left: int
    stayed: int
    totals: Mapping[str, int]
    most: frozenset[str] = frozenset()
    few: int = 1
    p_adjusted: float | None = None

    def share(self, side: str) -> Estimate | None:
        """The share of a side's journeys, per cent, with its Wilson interval; None where there are too few or nobody knows."""
        if side in self.most or self.totals[side] < max(self.few, 1):
            return None
        return figures.share_of(self.left if side == LEFT else self.stayed, self.totals[side])

    @property
    def difference(self) -> Difference | None:
        """The share of who left less that of who stayed."""
        return figures.difference(self.share(LEFT), self.share(STAYED))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the difference."""
        return figures.interval_of(self.share(LEFT), self.share(STAYED))

    @property
    def is_clear(self) -> bool:
        """Whether the difference is beyond its margin and what chance gives among so many, and can be seen in its figure."""
        is_chance = self.p_adjusted is not None and self.p_adjusted >= chance.ALPHA
        return not is_chance and bool(figures.direction(_SHARE, self.difference))

    @property
    def order(self) -> tuple[bool, float, int]:
        """Clear differences first, the largest first; then what most journeys have."""
        found = self.difference
        return (
            not self.is_clear,
            -abs(found.value) if found and self.is_clear else 0.0,
            -self.left - self.stayed,
        )


def judged(pairs: Sequence[Pair], skipped: Sequence[bool] = ()) -> list[Pair]:
    """The pairs with their p-values for all of the table at once (Holm).

    Args:
        pairs: the rows of a table.
        skipped: rows that differ by definition are no comparison.
    """
    places = [
        place
        for place, pair in enumerate(pairs)
        if pair.difference is not None and not (skipped and skipped[place])
    ]
    found = chance.holm(
        [
            chance.p_value(each.left, each.totals[LEFT], each.stayed, each.totals[STAYED])
            for each in (pairs[place] for place in places)
        ]
    )
    result = list(pairs)
    for place, p_adjusted in zip(places, found, strict=True):
        result[place] = replace(pairs[place], p_adjusted=p_adjusted)
    return result


def cells(words: Language, pair: Pair, links: Mapping[str, str]) -> list[Cell]:
    """The share of each side and their difference."""
    found = []
    for side in SIDES:
        if 0 < pair.totals[side] < pair.few:
            found.append(figures.missing(words))
        elif side in pair.most:
            at_most = figures.share_of(pair.left if side == LEFT else pair.stayed, pair.totals[side])
            found.append(Cell(f"≤ {_SHARE.text(words, at_most.value)}", tone="q"))
        else:
            share = pair.share(side)
            found.append(
                figures.none()
                if share is None
                else figures.estimate(words, _SHARE, share, links.get(side, ""))
            )
    return [*found, _difference(words, pair)]


def _difference(words: Language, pair: Pair) -> Cell:
    found, ends = pair.difference, pair.interval
    if found is None or ends is None:
        return figures.none()
    if not pair.is_clear:
        return Cell(words.gettext(N_("no clear difference")), tone="q")
    spoken = words.interval(*ends, _SHARE.decimals)
    text = words.number(found.value, _SHARE.decimals, sign=True)
    return Cell(text, spoken=f"{spoken} {words.gettext('points')}", strong=True)


def heads(words: Language, first: str, *more: Cell) -> list[Cell]:
    """What names the rows, the two sides and their difference, and other columns."""
    sides = [figures.head(words.gettext(TITLES[side])) for side in SIDES]
    return [figures.name(first), *sides, figures.head(words.gettext(N_("Difference, points"))), *more]


def end_pairs(counts: Mapping[str, Mapping[str, int]], few: int = 1) -> list[tuple[str, Pair]]:
    """How the journeys end, with how many of each side do; that somebody left is no comparison."""
    totals = {side: sum(counts[side].values()) for side in SIDES}
    pairs = [Pair(counts[LEFT][name], counts[STAYED][name], totals, few=few) for name in counts[LEFT]]
    return list(zip(counts[LEFT], judged(pairs, [name == LEFT for name in counts[LEFT]]), strict=True))


def funnel_pairs(sides: Mapping[str, Sequence[Row]], few: int = 1) -> list[tuple[Row, Pair]]:
    """The steps of a funnel, with how many journeys of each side that reach the first reach them."""
    totals = {side: sides[side][0]["journeys"] if sides[side] else 0 for side in SIDES}
    reached = {side: {row["step"]: int(row["journeys"]) for row in sides[side]} for side in SIDES}
    longest = max(sides.values(), key=len)
    pairs = [
        Pair(reached[LEFT].get(row["step"], 0), reached[STAYED].get(row["step"], 0), totals, few=few)
        for row in longest
    ]
    # The first step is what the shares are of.
    return list(zip(longest, judged(pairs, [not place for place in range(len(pairs))]), strict=True))


def clearest(pairs: Iterable[tuple[T, Pair]], skipped: Container[T] = ()) -> tuple[T, Pair] | None:
    """What differs most between the sides, beyond what chance gives among all compared; None where nothing does."""
    clear = [each for each in pairs if each[1].is_clear and each[0] not in skipped]
    return min(clear, key=lambda each: each[1].order, default=None)


def ends(
    words: Language,
    counts: Mapping[str, Mapping[str, int]],
    title: Callable[[str], str],
    link: Callable[[str, str], str],
    few: int,
) -> Grid:
    """How the journeys end.

    Args:
        words: of the reader.
        counts: of each side, journeys by how they end.
        title: the word for an end.
        link: to the customers of a side whose journeys end so.
        few: journeys of a side from which on shares are shown.
    """
    rows = []
    for name, pair in end_pairs(counts, few):
        links = {side: link(side, name) for side in SIDES if counts[side][name]}
        rows.append((pair, [figures.name(title(name)), *cells(words, pair, links)]))
    rows.sort(key=lambda row: -row[0].left - row[0].stayed)
    return Grid(heads(words, words.gettext(N_("End"))), [row for _, row in rows])


def edges(
    sides: Mapping[str, Iterable[Row]], totals: Mapping[str, int], few: int
) -> list[tuple[Edge, Pair, dict[str, Row]]]:
    """The steps that enough journeys take, those that differ most first, with the rows of each side.

    That somebody left can end only the journeys of who left: such ends come last.
    """
    found: dict[Edge, dict[str, Row]] = {}
    for side, rows in sides.items():
        for row in rows:
            found.setdefault((row["step"], row["from_place"], row["to_place"], row["outcome"]), {})[side] = (
                row
            )
    pairs = []
    for edge, each in found.items():
        left, stayed = (int(each[side]["journeys"]) if side in each else 0 for side in SIDES)
        if left + stayed >= few:
            pairs.append((edge, Pair(left, stayed, totals, few=few), each))
    known = judged([pair for _, pair, _ in pairs], [edge[3] == LEFT for edge, _, _ in pairs])
    pairs = [(edge, pair, each) for (edge, _, each), pair in zip(pairs, known, strict=True)]
    return sorted(pairs, key=lambda each: (each[0][3] == LEFT, each[1].order))


def edge_grid(
    words: Language,
    found: Sequence[tuple[Edge, Pair, dict[str, Row]]],
    title: Callable[[Row], str],
    link: Callable[[str, Row], str],
    few: int,
) -> Grid:
    """Steps as rows, with the effort that each side has on the way.

    Args:
        words: of the reader.
        found: of `edges`.
        title: what names a row.
        link: to the journeys of a side that take a step.
        few: journeys from which on effort is shown.
    """
    efforts = [{side: _effort(each.get(side), few) for side in SIDES} for _, _, each in found]
    axis = charts.axis_of([one for each in efforts for one in each.values()])
    more = [
        figures.head(words.gettext(N_("Step"))),
        figures.head(words.gettext(N_("Effort, who left"))),
        figures.head(words.gettext(N_("Effort, who stayed"))),
        figures.drawn(charts.axis_head(axis, words), words.gettext("Drawn")),
    ]
    grid = []
    for (edge, pair, each), effort in zip(found, efforts, strict=True):
        row = next(iter(each.values()))
        shown = [
            figures.name(title(row)),
            *cells(words, pair, {side: link(side, row) for side in each}),
            Cell(words.number(edge[0])),
        ]
        is_end = edge[2] is None
        shown += [
            Cell()
            if is_end
            else figures.none()
            if side not in each
            else figures.estimate(words, _EFFORT, effort[side])
            for side in SIDES
        ]
        grid.append([*shown, figures.drawn(charts.interval(axis, effort[LEFT], effort[STAYED], tone="e"))])
    return Grid(heads(words, words.gettext("From, to"), *more), grid)


def _effort(row: Row | None, few: int) -> Estimate | None:
    if row is None or row["effort"] is None or row["journeys"] < few:
        return None
    margin = row["effort_margin"]
    if margin is None:
        return Estimate(row["effort"])
    return Estimate(row["effort"], row["effort"] - margin, row["effort"] + margin)


def funnel(
    words: Language,
    sides: Mapping[str, Sequence[Row]],
    label: Callable[[str], str],
    link: Callable[[str, Row], str],
    few: int,
) -> Grid:
    """Of the journeys of each side that reach the first step, how many reach each other one."""
    reached = {side: {row["step"]: row for row in sides[side]} for side in SIDES}
    more = [
        figures.head(words.gettext(N_("Journeys, who left"))),
        figures.head(words.gettext(N_("Journeys, who stayed"))),
    ]
    grid = []
    for row, pair in funnel_pairs(sides, few):
        rows = [reached[side].get(row["step"]) for side in SIDES]
        links = [link(side, each) if each else "" for side, each in zip(SIDES, rows, strict=True)]
        grid.append(
            [
                figures.name(label(row["step"])),
                *cells(words, pair, {}),
                *(
                    figures.count(words, number, to)
                    for number, to in zip((pair.left, pair.stayed), links, strict=True)
                ),
            ]
        )
    return Grid(heads(words, words.gettext("Step"), *more), grid)


def paths(
    words: Language,
    sides: Mapping[str, Sequence[Row]],
    label: Callable[[str], str],
    link: Callable[[str, str], str],
    *,
    shown: int,
    read: int,
    few: int,
) -> Grid:
    """The frequent paths of either side, with their share in both, those that differ most first.

    Args:
        words: of the reader.
        sides: rows of the view `paths` of each side, the most frequent first.
        label: what names a path.
        link: to the journeys of a side with a path.
        shown: so many of each side are shown.
        read: so many were asked for: a path that is not among so many has at most as many journeys as the last one.
        few: paths of fewer journeys are left out where others have as many; a side of fewer has no shares.
    """
    totals = {side: _total(rows) for side, rows in sides.items()}
    counts = {side: {str(row["path"]): int(row["journeys"]) for row in rows} for side, rows in sides.items()}
    least = {side: int(rows[-1]["journeys"]) if len(rows) >= read else 0 for side, rows in sides.items()}
    pairs = []
    for path in dict.fromkeys(row["path"] for rows in sides.values() for row in rows[:shown]):
        unknown = frozenset(side for side in SIDES if path not in counts[side] and least[side])
        left, stayed = (counts[side].get(path, least[side]) for side in SIDES)
        pairs.append((path, Pair(left, stayed, totals, unknown, few)))
    enough = [each for each in pairs if each[1].left + each[1].stayed >= few]
    compared = enough or pairs
    known = judged([pair for _, pair in compared])
    pairs = sorted(
        ((path, pair) for (path, _), pair in zip(compared, known, strict=True)),
        key=lambda each: each[1].order,
    )
    grid = [
        [
            Cell(label(path), right=False, wide=True),
            *cells(words, pair, {side: link(side, path) for side in SIDES if path in counts[side]}),
        ]
        for path, pair in pairs
    ]
    return Grid(heads(words, words.gettext("Path")), grid)


def _total(rows: Sequence[Row]) -> int:
    """All journeys of a side, from the share of its most frequent path."""
    return round(rows[0]["journeys"] / rows[0]["share"]) if rows and rows[0]["share"] else 0
