"""The model card of the churn risk, which `cxstream train churn --report FILE.json` writes, as the page Models shows it.

It says how good the risk was of customers whom the model had not seen. The settings name the file (`warehouse.model_card`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from cxstream.console import charts, figures
from cxstream.console.figures import Cell, Estimate, Grid
from cxstream.console.labels import label
from cxstream.console.language import N_

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.console.language import Language
    from cxstream.model.parameters import ScoringParams

# Rules have coefficients of six decimals.
_SAME = 1e-6
_WIDTH = 300
_LITTLE, _MUCH = 0.1, 0.25
# Of a file: a card has some ten thousand.
_MOST_BYTES = 1 << 20
_BY = {"segment": N_("Segment"), "channel": N_("Channel")}
_MODELS = {
    "linear": N_("the model, as in the rules"),
    "boosting": N_("gradient boosting, same features"),
    "recency_frequency": N_("recency and frequency"),
    "before": N_("the rules before"),
    "share": N_("the same for everybody"),
}


_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
# JSON has integers of any length; Python makes no floating-point number of the longest.
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


_Loss = Annotated[float, msgspec.Meta(ge=0, le=1e3)]
_Days = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class _Model(msgspec.Struct):
    coefficients: dict[str, float]


class _Score(msgspec.Struct):
    model: str
    auc: _Share | None
    average_precision: _Share | None
    brier: _Share | None
    calibration_error: _Share | None
    log_loss: _Loss | None = None


class _Bin(msgspec.Struct):
    customers: _Count
    expected: _Share
    observed: _Share
    least: _Share
    most: _Share


class _Decile(msgspec.Struct):
    lift: float
    captured: _Share


class _Group(msgspec.Struct):
    by: str
    name: str
    departures: _Count
    expected: _Share
    observed: _Share
    auc: _Share | None


class _Costs(msgspec.Struct):
    pays: float | None
    best: float | None
    contacted: float
    caught: float
    saving: float


class _Lead(msgspec.Struct):
    departures: _Count
    seen: _Share | None
    days: tuple[_Days | None, _Days | None, _Days | None]


class _Tried(msgspec.Struct):
    feature: str
    saves: Annotated[float, msgspec.Meta(ge=-1e3, le=1e3)]
    auc: _Share | None


class _Check(msgspec.Struct):
    customers: _Count
    departures: _Count
    share: float | None
    scores: list[_Score]
    auc: tuple[_Share | None, _Share | None]
    calibration_error: tuple[_Share | None, _Share | None]
    bins: list[_Bin]
    deciles: list[_Decile]
    groups: list[_Group]
    costs: _Costs
    drift: float | None
    lead: _Lead | None = None


class _Asked(msgspec.Struct):
    contact: float
    success: float
    value: float


class Card(msgspec.Struct):
    """What is shown of a model card.

    Attributes:
        horizon_days: days within which customers leave.
        customers: whom the model was fitted to.
        departures: how many of them left.
        model: None: there was not enough data.
        check: of customers whom it had not seen; None likewise. Where the inputs were too short for one, it is that of
            the inputs for the check alone.
        checked_from: first day of the check; None: the check is of other customers only.
        costs: what a contact costs and brings.
        tried: what each feature earns, the most first.
    """

    horizon_days: _Count
    customers: _Count
    departures: _Count
    model: _Model | None = None
    check: _Check | None = None
    other_inputs: _Check | None = None
    checked_from: str | None = None
    costs: _Asked | None = None
    tried: list[_Tried] = []

    def __post_init__(self) -> None:
        self.check = self.check or self.other_inputs


def read(path: Path) -> Card | None:
    """The model card in a file; None if the file cannot be read, or is none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        return msgspec.json.decode(text, type=Card) if len(text) <= _MOST_BYTES else None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def is_of(card: Card, params: ScoringParams) -> bool:
    """Whether a card is of the churn risk of these rules."""
    if card.model is None:
        return False
    mine = params.coefficients
    return all(abs(b - mine.get(name, 0.0)) <= _SAME for name, b in card.model.coefficients.items())


def facts(words: Language, check: _Check) -> list[tuple[str, Cell]]:
    """How it ranks, whether it is a probability, and whether customers have changed."""
    score, text = check.scores[0], words.gettext
    return [
        (text("AUC"), Cell(words.number(score.auc, 2), words.interval(*check.auc, 2))),
        (
            text(N_("PR-AUC")),
            Cell(
                words.number(score.average_precision, 2),
                text(N_("by chance %(share)s")) % {"share": words.number(check.share, 2)},
            ),
        ),
        (
            text("Calibration error"),
            Cell(words.number(score.calibration_error, 3), words.interval(*check.calibration_error, 3)),
        ),
        (text(N_("Brier score")), Cell(words.number(score.brier, 3))),
        (text(N_("Log loss")), Cell(words.number(score.log_loss, 4))),
        (text("Drift of the risk (PSI)"), drift(words, check.drift)),
    ]


def others(words: Language, check: _Check) -> Grid | None:
    """The model beside others; None where there are none."""
    if len(check.scores) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    heads = [
        figures.name(words.gettext(N_("Model"))),
        *(
            figures.head(words.gettext(text))
            for text in (N_("AUC"), N_("PR-AUC"), N_("Log loss"), N_("Calibration error"))
        ),
    ]
    rows = [
        [
            figures.name(words.gettext(_MODELS.get(each.model, each.model))),
            Cell(words.number(each.auc, 3), strong=place == 0),
            Cell(words.number(each.average_precision, 3)),
            Cell(words.number(each.log_loss, 4)),
            Cell(words.number(each.calibration_error, 3)),
        ]
        for place, each in enumerate(check.scores)
    ]
    return Grid(heads, rows)


def earned(words: Language, card: Card) -> Grid | None:
    """What each feature earns; None where that was not tried."""
    if not card.tried:
        return None
    heads = [
        figures.name(words.gettext(N_("Feature"))),
        *(figures.head(words.gettext(text)) for text in (N_("Log loss saved"), N_("AUC without"))),
    ]
    rows = [
        [
            Cell(label(words, "reason", each.feature), each.feature, right=False),
            Cell(words.number(each.saves, 5, sign=True)),
            Cell(words.number(each.auc, 3)),
        ]
        for each in card.tried
    ]
    return Grid(heads, rows)


def lead(words: Language, check: _Check) -> list[tuple[str, Cell]]:
    """How early those who left were seen; empty where the card does not say."""
    found, text = check.lead, words.gettext
    if found is None or not found.departures or found.seen is None:
        return []
    pairs = [
        (
            text(N_("Elevated at the last cutoff before")),
            Cell(
                words.percent(found.seen),
                text(N_("of %(n)s who left")) % {"n": words.number(found.departures)},
            ),
        )
    ]
    low, middle, high = found.days
    if middle is None:
        return pairs
    return [
        *pairs,
        (
            text(N_("Days seen before, half of these")),
            Cell(words.number(middle), words.interval(low, high, 0)),
        ),
    ]


def drift(words: Language, psi: float | None) -> Cell:
    """A population stability index, and what it means."""
    if psi is None:
        return figures.none()
    said = N_("stable") if psi < _LITTLE else N_("shifting") if psi < _MUCH else N_("shifted")
    return Cell(words.number(psi, 2), words.gettext(said))


def tenths(words: Language, check: _Check) -> Grid:
    """Probability against outcome, lift and captured share, by tenth; the largest probabilities come first."""
    bins = check.bins[::-1]
    found = [Estimate(100 * each.observed, 100 * each.least, 100 * each.most) for each in bins]
    expected = [Estimate(100 * each.expected) for each in bins]
    axis = charts.axis_of([*found, *expected], (0,), _WIDTH)
    heads = [
        figures.name(words.gettext(N_("Checked tenth"))),
        *(figures.head(words.gettext(text)) for text in (N_("Customers"), N_("Expected, %"), N_("Left, %"))),
        figures.drawn(charts.axis_head(axis, words)),
        *(figures.head(words.gettext(text)) for text in (N_("Lift"), N_("Found so far"))),
    ]
    # Where many have the same probability there are fewer tenths.
    lifts = [*check.deciles, *([None] * len(bins))]
    rows = [
        [
            figures.name(str(number)),
            figures.count(words, each.customers),
            Cell(words.number(risk.value, 1)),
            Cell(words.number(share.value, 1), words.interval(share.low, share.high), strong=True),
            figures.drawn(charts.interval(axis, share, before=risk, tone="k")),
            figures.none() if lift is None else Cell(f"\N{MULTIPLICATION SIGN}{words.number(lift.lift, 1)}"),
            figures.none() if lift is None else Cell(words.percent(lift.captured)),
        ]
        for number, (each, share, risk, lift) in enumerate(zip(bins, found, expected, lifts, strict=False), 1)
    ]
    return Grid(heads, rows)


def costs(words: Language, card: Card) -> list[tuple[str, Cell]]:
    """Whom to contact, by cost; empty where nobody has said what a contact costs."""
    if card.check is None or card.costs is None:
        return []
    found, asked, text = card.check.costs, card.costs, words.gettext
    pairs = [
        (
            text(N_("A contact pays from")),
            Cell(
                words.percent(found.pays, 1),
                text(N_("cost %(cost)s, keeps %(success)s, value %(value)s"))
                % {
                    "cost": _plain(words, asked.contact),
                    "success": words.percent(asked.success),
                    "value": _plain(words, asked.value),
                },
            ),
        )
    ]
    if found.best is None:
        return [*pairs, (text(N_("Best threshold")), Cell(text(N_("none: no contact pays")), tone="q"))]
    return [
        *pairs,
        (text(N_("Best threshold")), Cell(words.percent(found.best, 1))),
        (text(N_("Contacted above it")), Cell(words.percent(found.contacted, 1))),
        (text(N_("Reached of those who leave")), Cell(words.percent(found.caught))),
        (text(N_("Saved for each 1,000 customers")), Cell(words.number(found.saving))),
    ]


def _plain(words: Language, value: float) -> str:
    return words.number(value, 0 if value == round(value) else 2)


def groups(words: Language, check: _Check) -> Grid | None:
    """The risk within segments and channels; None where there is only one of each."""
    if not check.groups:
        return None
    heads = [
        figures.name(words.gettext(N_("Segment or channel"))),
        *(
            figures.head(words.gettext(text))
            for text in (N_("Who left"), N_("Expected, %"), N_("Left, %"), N_("AUC"))
        ),
    ]
    rows = [
        [
            Cell(
                label(words, each.by, each.name) if each.name else words.gettext(N_("unknown")),
                words.gettext(_BY.get(each.by, each.by)),
                right=False,
            ),
            figures.count(words, each.departures),
            Cell(words.number(100 * each.expected, 1)),
            Cell(words.number(100 * each.observed, 1)),
            figures.missing(words) if each.auc is None else Cell(words.number(each.auc, 2)),
        ]
        for each in check.groups
    ]
    return Grid(heads, rows)
