"""What a model card says of acting on a churn risk: lead times and costs, in sentences, tables and plots."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from cxstream.training.page import Rows, table
from cxstream.training.plot import Series, line_plot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.training.card import Asked, Check

EARLY = "How early those who left were seen"
CHOICES = "Whom to contact, by cost"


def acting_parts(check: Check, asked: Asked) -> Iterator[str]:
    """Lead times and costs, as parts of the page."""
    early, choices = check.lead.early, check.costs.choices
    lead, *costs = acting(check, asked)
    yield f"<h3>{EARLY}</h3>"
    yield f"<p>{escape(lead)}</p>"
    if len(early) > 1:
        yield line_plot(
            "Share of those who left that was at least elevated",
            "for at least so many days before",
            [Series("seen", [(each.days, each.share) for each in early])],
        )
    if early:
        yield table(early_rows(check))
    yield f"<h3>{CHOICES}</h3>"
    yield from (f"<p>{escape(line)}</p>" for line in costs)
    gains = [(each.contacted, each.saving) for each in choices if each.saving >= 0]
    if len(gains) > 1:
        yield line_plot(
            "Saved for each 1,000 customers",
            "share of customers contacted, the largest risk first",
            [Series("saving", [(0.0, 0.0), *gains])],
        )
    yield table(choice_rows(check))


def acting(check: Check, asked: Asked) -> Iterator[str]:
    """Lead time and costs, in sentences; that of the lead time first."""
    lead, costs = check.lead, check.costs
    if math.isfinite(lead.days[1]):
        low, middle, high = lead.days
        yield (
            f"Of {lead.departures:,} departures {lead.seen:.0%} were at least elevated at the last cutoff before; half of these for "
            f"{middle:.0f} days or more without interruption (a quarter {low:.0f} or less, a quarter {high:.0f} or more)."
        )
    else:
        yield "Lead time before departures: not enough data."
    yield (
        f"If a contact costs {asked.cost:g}, keeps {asked.success:.0%} of those who would leave, and a customer is worth "
        f"{asked.value:g}, it pays from a probability of {costs.pays:.3g}."
    )
    if costs.saving > 0:
        yield (
            f"The largest saving is that of contacting everybody from {costs.best:.3g} on: {costs.contacted:.1%} of the customers, "
            f"{costs.caught:.0%} of those who leave; {costs.saving:,.0f} for each 1,000 customers."
        )
    else:
        yield "At these costs no threshold saves anything."


def early_rows(check: Check) -> Rows:
    """Lead times as a table, the head first."""
    rows: Rows = [("elevated for at least", "customers who left", "share of them")]
    for each in check.lead.early:
        days = f"{each.days} days before" if each.days else "at the last cutoff before"
        rows.append((days, f"{each.customers:,}", f"{each.share:.1%}"))
    return rows


def choice_rows(check: Check) -> Rows:
    """Thresholds as a table, the head first."""
    rows: Rows = [("contact from", "customers", "of those who leave", "saving for each 1,000 customers")]
    for each in check.costs.choices:
        saving = f"{each.saving:,.0f}".replace("-", "\N{MINUS SIGN}")
        rows.append((f"{each.threshold:.3g}", f"{each.contacted:.1%}", f"{each.caught:.1%}", saving))
    return rows
