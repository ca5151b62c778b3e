"""The report of experiments: JSON for programs, tables for the terminal, and one HTML page that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

from cxstream.training.page import page, table, warnings
from cxstream.training.plot import Series, line_plot
from cxstream.trials.plot import intervals
from cxstream.trials.statistics import ALPHA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.training.page import Rows
    from cxstream.trials.evaluate import Metric, Money, Plan, Result, Wanted
    from cxstream.trials.gather import Daily
    from cxstream.trials.plot import Interval
    from cxstream.trials.statistics import Estimate, Qini, Trend

_UNITS = {
    "effort": "0..100",
    "satisfaction": "0..100",
    "nps": "-100..100",
    "churn": "0..1",
    "spend": "base currency",
}


def as_json(
    results: Sequence[Result], wanted: Wanted, trend: Trend | None = None, daily: Daily | None = None
) -> bytes:
    """Everything there is to know, as one JSON object."""
    said = {"wanted": wanted, "results": results, "change": trend, "daily": daily}
    return msgspec.json.format(msgspec.json.encode(said)) + b"\n"


def title(result: Result) -> str:
    """What a result is about."""
    return f"{result.what.capitalize()} {result.name}"


def size(result: Result) -> str:
    """The arms in a sentence."""
    ratio = (
        ""
        if result.ratio_p is None
        else f"; {result.share:.4g} should be held out (p = {result.ratio_p:.3g})"
    )
    waiting = f"; {result.waiting:,} more are not followed long enough" if result.waiting else ""
    return f"{result.treated:,} treated, {result.holdout:,} held out{waiting}{ratio}."


def metric_rows(result: Result) -> Rows:
    """The outcomes as a table, the head first."""
    rows: Rows = [
        (
            "outcome",
            "unit",
            "treated",
            "holdout",
            "difference",
            "95% interval",
            "p",
            "at every look",
            "detectable",
        ),
    ]
    for each in result.metrics:
        low, high = each.bootstrap or (each.estimate.low, each.estimate.high)
        rows.append(
            (
                each.name,
                _UNITS[each.name],
                _short(each.mean_treated),
                _short(each.mean_holdout),
                f"{each.estimate.difference:+.3g}",
                _ends(low, high),
                f"{each.estimate.p:.3f}",
                _ends(*each.anytime),
                _short(each.detectable),
            )
        )
    return rows


def money_lines(money: Money | None) -> list[str]:
    """What it brought, in sentences."""
    if money is None:
        return []
    of = "customers kept, by their value" if money.by == "churn" else "what the treated spent more"
    lines = [f"Gain ({of}): {_amount(money.gain)}."]
    if money.saving is not None:
        lines.append(f"Cost of acting: {money.cost:,.0f}. Saving: {_amount(money.saving)}.")
    if money.roi is not None:
        lines.append(f"ROI: {money.roi[0]:.0%} ({money.roi[1]:.0%} to {money.roi[2]:.0%}).")
    return lines


def decile_rows(result: Result) -> Rows:
    """Churn by tenths of the risk as a table, the head first."""
    rows: Rows = [("tenth by risk", "treated", "holdout", "difference in churn", "95% interval")]
    for each in result.deciles:
        said = ("-", "-")
        if each.estimate is not None:
            said = f"{each.estimate.difference:+.3g}", _ends(each.estimate.low, each.estimate.high)
        rows.append((str(each.decile), f"{each.treated:,}", f"{each.holdout:,}", *said))
    return rows


def plan_rows(plans: Sequence[Plan]) -> Rows:
    """What an experiment could find as a table, the head first."""
    rows: Rows = [
        ("outcome", "mean", "deviation", "detectable", "customers for 10%", "for 20%", "for 50% of the mean")
    ]
    for each in plans:
        counts = ("-",) * 3 if each.needed is None else tuple(f"{count:,.0f}" for count in each.needed)
        rows.append((each.name, _short(each.mean), _short(each.deviation), _short(each.detectable), *counts))
    return rows


def trend_lines(trend: Trend) -> list[str]:
    """What a change did, in sentences."""
    found = trend.estimate
    lines = [
        (
            f"Difference in differences: {found.difference:+.3g} ({_ends(found.low, found.high)}), p = {found.p:.3f}; "
            f"{trend.days_before} days before, {trend.days_after} after."
        )
    ]
    if trend.slope_p < ALPHA:
        lines.append(
            f"The channels did not run in parallel before the change (slope {trend.slope:+.3g} a day, p = {trend.slope_p:.2g}): "
            "do not believe the difference; choose another control."
        )
    else:
        lines.append(
            f"Nothing says that they did not run in parallel before (p = {trend.slope_p:.2g}; slope between "
            f"{_ends(trend.slope_low, trend.slope_high)} a day)."
        )
    lines.append(_placebo_line(trend.placebo))
    return lines


def _placebo_line(found: Estimate | None) -> str:
    if found is None:
        return "Too few days before the change to pretend another one halfway through them."
    said = (
        f"A pretended change halfway through the time before: {found.difference:+.3g} ({_ends(found.low, found.high)}), "
        f"p = {found.p:.3f}"
    )
    if found.p < ALPHA:
        return f"{said}: something else moved the channels apart, so do not believe the difference."
    return f"{said}: no difference where none should be."


def _daily_plot(daily: Daily) -> str:
    changed, control = (
        [(float(day), value) for day, value in zip(daily.days, values, strict=True)]
        for values in (daily.changed, daily.control)
    )
    return line_plot(
        f"Mean of {daily.measure} by day, {daily.channel} and {daily.other}",
        "days from the change",
        [Series(daily.channel, changed), Series(daily.other, control, dashed=True)],
        at=0.0,
    )


def as_html(
    results: Sequence[Result], wanted: Wanted, change: Sequence[str] = (), daily: Daily | None = None
) -> str:
    """The report as one HTML page with its plots."""
    parts = [
        (
            f"<p>Each customer is followed for {wanted.days} days from the first signal or action. A difference is treated less "
            "holdout, adjusted for what was known before (CUPED); by the arm drawn, whatever was done.</p>"
        )
    ]
    for each in results:
        parts += _part(each)
    if change:
        parts += ["<h2>Change of the experience</h2>", *(f"<p>{escape(line)}</p>" for line in change)]
    if daily is not None:
        parts.append(_daily_plot(daily))
    return page("Did acting help?", parts)


def _part(result: Result) -> list[str]:
    parts = [
        f"<h2>{escape(title(result))}</h2>",
        f"<p>{escape(size(result))}</p>",
        *warnings(result.warnings),
        *(f"<p>{escape(each)}</p>" for each in result.left_out),
    ]
    if not result.metrics:
        return parts
    parts += [table(metric_rows(result))]
    # In units of the least difference that can be found, all outcomes fit on one axis.
    rows = [_scaled(each) for each in result.metrics if each.detectable > 0]
    if rows:
        parts.append(intervals("Difference, in units of the least detectable one", rows))
    parts += [f"<p>{escape(line)}</p>" for line in money_lines(result.money)]
    shown = [each for each in result.deciles if each.estimate is not None]
    if shown:
        rows = [
            (f"tenth {d.decile}", d.estimate.difference, d.estimate.low, d.estimate.high)
            for d in shown
            if d.estimate
        ]
        parts += [
            "<h3>Churn by tenths of the risk</h3>",
            intervals("Difference in churn", rows),
            table(decile_rows(result)),
        ]
    if result.looks:
        rows = [
            (f"{each.customers:,} customers", each.difference, each.low, each.high)
            for each in result.looks[::4]
        ]
        parts += [
            "<h3>Churn as customers came in, valid at every look</h3>",
            intervals("Difference in churn", rows),
        ]
    if result.qini is not None:
        parts += _qini_parts(result.qini)
    return parts


def _qini_parts(qini: Qini) -> list[str]:
    said = (
        f"<p>Area between the curve and treating by chance: {qini.area:+.4f} customers kept per customer.</p>"
    )
    points = list(zip(qini.share, qini.gain, strict=True))
    chance = [points[0], points[-1]]
    plot = line_plot(
        "Customers kept per customer",
        "share treated, by risk",
        [Series("by risk", points), Series("by chance", chance, dashed=True)],
    )
    return ["<h3>Whom to treat (Qini)</h3>", said, plot]


def _short(value: float) -> str:
    return f"{value:,.4g}"


def _ends(low: float, high: float) -> str:
    return f"{low:+.3g} to {high:+.3g}"


def _amount(value: tuple[float, float, float]) -> str:
    return f"{value[0]:,.0f} ({value[1]:,.0f} to {value[2]:,.0f})"


def _scaled(each: Metric) -> Interval:
    low, high = each.bootstrap or (each.estimate.low, each.estimate.high)
    return (
        each.name,
        each.estimate.difference / each.detectable,
        low / each.detectable,
        high / each.detectable,
    )
