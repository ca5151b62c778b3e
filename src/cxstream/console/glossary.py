"""What the words of a page mean, for those who meet them for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.console.language import N_

if TYPE_CHECKING:
    from cxstream.console.language import Language

TERMS = {
    "effort": (
        N_("Effort"),
        N_(
            "How hard it was for the customer, 0 to 100: what they answered, else what happened (waiting, failures, repeated contacts). 0 is easy."
        ),
    ),
    "satisfaction": (
        N_("Satisfaction"),
        N_(
            "How content the customer is, 0 to 100: what they answered, else inferred from what happened. 100 is best."
        ),
    ),
    "mood": (N_("Mood"), N_("What a visit adds to or takes from satisfaction, in points; below 0 is bad.")),
    "risk": (
        N_("Risk"),
        N_(
            "How likely the customer is to leave, 0 to 1. It is a probability only after it was fitted to your customers; before, it ranks them."
        ),
    ),
    "level": (
        N_("Level"),
        N_(
            "None, elevated, high or critical, by thresholds of the risk; it is what the last signal told the CRM."
        ),
    ),
    "signal": (
        N_("Signal"),
        N_("What the rules say to the CRM when the level of a customer changes, with its reasons."),
    ),
    "margin": (
        N_("± and [low, high]"),
        N_(
            "The 95% margin of an estimate: were it measured again and again, 95 of 100 such intervals would hold the true value. No clear change: the interval of the change holds 0."
        ),
    ),
    "nps": (
        N_("NPS"),
        N_(
            "Would you recommend us, 0 to 10: the share of 9 and 10 (promoters) less that of 0 to 6 (detractors), -100 to 100."
        ),
    ),
    "csat": (N_("CSAT"), N_("How satisfied are you, 1 to 5: the share of 4 and 5.")),
    "ces": (N_("CES"), N_("How easy was it, 1 to 7: the mean; 7 is easy.")),
    "fcr": (
        N_("Resolved at first contact"),
        N_("No further contact of the customer about the same topic within 7 days."),
    ),
    "holdout": (
        N_("Holdout"),
        N_(
            "Customers drawn by chance for whom nothing is done, so that the effect of acting on the others can be measured."
        ),
    ),
    "worth": (
        N_("CLV, money at risk"),
        N_(
            "What a customer is expected to bring within the horizon of the value model, and that times the risk."
        ),
    ),
    "cuped": (
        N_("CUPED"),
        N_(
            "Differences are corrected by what was known of each customer before, which makes margins narrower."
        ),
    ),
    "journey": (
        N_("Journey"),
        N_(
            "Touchpoints of a customer one after the other, until a week passes without one; or those of a session or case."
        ),
    ),
    "roi": (
        N_("Return on it"),
        N_(
            "Revenue credited to messages sent in the period less the cost of these, as a share of the cost. Purchases after earlier messages do not count. Credit is bookkeeping, no proof of cause."
        ),
    ),
    "auc": (
        N_("AUC"),
        N_("How often one who left had a higher risk than one who stayed: 0.5 is chance, 1 is perfect."),
    ),
    "calibration": (
        N_("Calibration"),
        N_("Whether as many leave as the risk says: of those at 0.3, 30 in 100."),
    ),
    "late": (
        N_("Late"),
        N_(
            "A record that came on a later day than it happened. It is counted; one that is too late is rejected."
        ),
    ),
    "rejected": (
        N_("Rejected"),
        N_(
            "A record that cannot be used: malformed, invalid, from the future, or too late. It is in no figure."
        ),
    ),
}
"""A term and what it means, both marked by N_."""

PAGES = {
    "today": ("effort", "satisfaction", "mood", "risk", "level", "nps", "holdout", "margin"),
    "queue": ("risk", "level", "signal", "effort", "satisfaction", "holdout", "worth"),
    "customer": ("effort", "satisfaction", "risk", "level", "signal", "holdout", "worth"),
    "customers": ("risk", "level", "effort", "satisfaction"),
    "touchpoints": ("effort", "mood", "margin"),
    "journeys": ("journey", "effort", "margin"),
    "voice": ("nps", "csat", "ces", "margin"),
    "service": ("fcr", "margin"),
    "campaigns": ("roi", "margin"),
    "empathy": ("effort", "satisfaction", "margin"),
    "consistency": ("effort", "satisfaction", "margin"),
    "value": ("worth", "risk", "satisfaction"),
    "experiments": ("holdout", "cuped", "margin"),
    "models": ("risk", "auc", "calibration"),
    "quality": ("late", "rejected"),
    "rules": ("level", "signal", "risk"),
}
"""The terms of each page, by its name."""


def of(words: Language, page: str) -> list[tuple[str, str]]:
    """The terms of a page and what they mean, in the reader's language."""
    return [
        (words.gettext(term), words.gettext(meaning))
        for term, meaning in (TERMS[each] for each in PAGES.get(page, ()))
    ]
