"""The report of fitted models: JSON for programs, and one HTML page that needs nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.rfc3339 import date
from cxstream.training.models import MODELS
from cxstream.training.page import Rows, page, table, warnings
from cxstream.training.plot import Series, line_plot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cxstream.training.fit import Fit
    from cxstream.training.holdout import Holdout
    from cxstream.training.run import Trained

_TITLES = {model.name: model.title for model in MODELS}


def as_json(trained: Trained) -> bytes:
    """Everything there is to know, as one JSON object."""
    fitted, holdout = trained.fitted, trained.holdout
    said: dict[str, Any] = {
        "customers": fitted.customers,
        "repeaters": fitted.repeaters,
        "unit_days": trained.wanted.unit_days,
        "models": {name: _fit(fit) for name, fit in fitted.purchases.items()},
        "spend": None if fitted.spend is None else _fit(fitted.spend),
        "spend_correlation": fitted.correlation,
        "holdout": None if holdout is None else _holdout(holdout),
        "warnings": fitted.warnings,
    }
    return msgspec.json.format(msgspec.json.encode(said)) + b"\n"


def _fit(fit: Fit) -> dict[str, Any]:
    return {
        "parameters": fit.parameters(),
        "standard_errors": dict(zip(fit.names, map(_number, fit.errors.tolist()), strict=True)),
        "log_likelihood": fit.log_likelihood,
        "aic": fit.aic,
        "customers": fit.customers,
        "starts": fit.starts,
        "agreeing_starts": fit.agreeing,
        "converged": fit.converged,
        "problems": list(fit.problems),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _holdout(holdout: Holdout) -> dict[str, Any]:
    return {
        "cut": date(holdout.cut),
        "end": date(holdout.end),
        "parameters": holdout.fit.parameters(),
        "expected_to_actual": _number(holdout.ratio),
        "correlation": _number(holdout.correlation),
        "root_mean_square_error": holdout.error,
        "track": [{"day": p.day, "actual": p.actual, "expected": p.expected} for p in holdout.track],
        "by_repeats": [
            {"repeats": r.repeats, "customers": r.customers, "actual": r.actual, "expected": r.expected}
            for r in holdout.rows
        ],
    }


def track_csv(holdout: Holdout | None) -> bytes:
    """The plot of the holdout as CSV; without a holdout the head alone."""
    lines = ["day,date,actual,expected"]
    if holdout is not None:
        lines += [
            f"{each.day},{date(holdout.cut + each.day)},{each.actual},{each.expected:.6f}"
            for each in holdout.track
        ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def as_html(trained: Trained) -> str:
    """The report as one HTML page with its plot."""
    fitted = trained.fitted
    parts = [
        (
            f"<p>{fitted.customers:,} customers, {fitted.repeaters:,} of whom have bought on more than one day. The unit of "
            f"time is {trained.wanted.unit_days:g} days.</p>"
        ),
        *warnings(fitted.warnings),
        "<h2>When customers buy</h2>",
        table(fit_rows(trained)),
        "<p>MBG/NBD goes into the rules. The others are fitted for comparison.</p>",
    ]
    if fitted.spend is not None:
        parts += ["<h2>What they spend</h2>", table(spend_rows(trained))]
    if trained.holdout is not None:
        parts += _holdout_parts(trained.holdout)
    return page("Models of purchases", parts)


def _holdout_parts(holdout: Holdout) -> list[str]:
    plot = line_plot(
        "Purchases since the cut",
        "days since the cut",
        [
            Series("actual", [(p.day, p.actual) for p in holdout.track]),
            Series("expected", [(p.day, p.expected) for p in holdout.track], dashed=True),
        ],
    )
    return [
        "<h2>Holdout</h2>",
        (
            f"<p>MBG/NBD, fitted to purchases until {date(holdout.cut)}, against purchases until {date(holdout.end)}: "
            f"{holdout.ratio:.2f} purchases expected for each that came; correlation over customers {holdout.correlation:.2f}, "
            f"error {holdout.error:.2f} purchases.</p>"
        ),
        plot,
        table(holdout_rows(holdout)),
    ]


def fit_rows(trained: Trained) -> Rows:
    """The models of purchases as a table, the head first."""
    rows: Rows = [("model", "parameter", "value", "standard error", "log-likelihood", "AIC")]
    for name, fit in trained.fitted.purchases.items():
        rows += _rows(_TITLES[name], fit)
    return rows


def spend_rows(trained: Trained) -> Rows:
    """The model of amounts as a table, the head first."""
    rows: Rows = [("model", "parameter", "value", "standard error", "log-likelihood", "AIC")]
    return rows if trained.fitted.spend is None else rows + list(_rows("Gamma-Gamma", trained.fitted.spend))


def _rows(title: str, fit: Fit) -> Iterable[tuple[str, ...]]:
    for i, (name, value, error) in enumerate(
        zip(fit.names, fit.values.tolist(), fit.errors.tolist(), strict=True)
    ):
        last = (f"{fit.log_likelihood:,.1f}", f"{fit.aic:,.1f}") if i == 0 else ("", "")
        yield (title if i == 0 else "", name, f"{value:.4g}", f"{error:.2g}", *last)


def holdout_rows(holdout: Holdout) -> Rows:
    """The holdout by repeats as a table, the head first."""
    rows: Rows = [("repeats before the cut", "customers", "mean purchases after it", "expected")]
    last = holdout.rows[-1].repeats
    for row in holdout.rows:
        many = " or more" if row.repeats == last and len(holdout.rows) > 1 else ""
        rows.append(
            (f"{row.repeats}{many}", f"{row.customers:,}", f"{row.actual:.3f}", f"{row.expected:.3f}")
        )
    return rows
