"""The pages in the order of the navigation. A page that is not there yet is left out: no link leads nowhere."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from cxstream.console import pages
from cxstream.console.language import N_

if TYPE_CHECKING:
    from cxstream.console.page import Page

ORDER = {
    N_("Act"): ("today", "queue", "customers", "alerts"),
    N_("Understand"): (
        "touchpoints", "journeys", "voice", "service", "campaigns", "empathy", "consistency", "value",
    ),
    N_("Prove and run"): ("experiments", "models", "quality", "rules"),
}  # fmt: skip
"""Names of pages by group; each has an icon in templates/icons.html."""

ALSO = {
    "today": N_("overview, summary, home, effort, satisfaction"),
    "queue": N_("at risk, churn, call, retention, to do"),
    "customers": N_("people, clients, churn, at risk"),
    "alerts": N_("outage, anomaly, incident, warning"),
    "touchpoints": N_("channels, heat map, places, effort"),
    "journeys": N_("funnel, paths, Sankey, conversion, churn, left"),
    "voice": N_("NPS, CSAT, CES, survey, reviews, social, sentiment, promoters, detractors"),
    "service": N_(
        "FCR, first contact, waiting, contact centre, complaints, agents, SLA, train, training, coaching"
    ),
    "campaigns": N_("ROI, newsletter, mailing, marketing, cost, attribution"),
    "empathy": N_("says, thinks, does, feels, persona"),
    "consistency": N_("omnichannel, differences between channels"),
    "value": N_("CLV, LTV, money, revenue, spend, purchases, returns"),
    "experiments": N_("holdout, A/B test, uplift, CUPED, effect of actions, ROI"),
    "models": N_("churn, AUC, calibration, prediction, probability"),
    "quality": N_("rejected, late, data quality, sources, errors"),
    "rules": N_("weights, thresholds, points, settings"),
}
"""Other words for what a page shows, by which it is found, too."""

TABS = ("today", "queue", "customers", "touchpoints")
"""On a phone, beside "More"."""


def found() -> dict[str, Page]:
    """All pages that there are, by name."""
    modules = (import_module(f"{pages.__name__}.{each.name}") for each in iter_modules(pages.__path__))
    return {module.PAGE.name: module.PAGE for module in modules}


def groups(known: dict[str, Page]) -> list[tuple[str, list[Page]]]:
    """Groups with their pages, without those that are not listed."""
    listed = [
        (group, [known[name] for name in names if name in known and known[name].listed])
        for group, names in ORDER.items()
    ]
    return [(group, members) for group, members in listed if members]
