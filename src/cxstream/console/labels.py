"""Words for the codes of the data: channels, stages, levels, reasons, kinds. A code that nobody knows is shown as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.console.language import N_

if TYPE_CHECKING:
    from cxstream.console.language import Language

STAGES = {
    "awareness": N_("Discover"),
    "consideration": N_("Choose"),
    "purchase": N_("Buy"),
    "service": N_("Get help"),
    "loyalty": N_("Stay"),
}
CHANNELS = {
    "web": N_("Web"),
    "app": N_("App"),
    "chat": N_("Chat"),
    "call": N_("Call centre"),
    "phone": N_("Call centre"),
    "store": N_("Store"),
    "email": N_("E-mail"),
    "sms": N_("Text message"),
    "social": N_("Social"),
    "crm": N_("CRM"),
    "field": N_("Field service"),
    "post": N_("Post"),
}
LEVELS = {"none": N_("None"), "elevated": N_("Elevated"), "high": N_("High"), "critical": N_("Critical")}
REASONS = {
    "effort": N_("High effort"),
    "surge": N_("Effort rose suddenly"),
    "silence": N_("Silent for unusually long"),
    "dissatisfaction": N_("Dissatisfied"),
    "detractor": N_("Bad answer in a survey"),
    "complaint": N_("Open complaint"),
    "unsubscribed": N_("Unsubscribed"),
    "lapse": N_("Stopped buying"),
    "slowdown": N_("Active on fewer days than usual"),
    "just_unsubscribed": N_("Has just unsubscribed"),
    "unresolved": N_("Contacts did not help"),
}
KINDS = {
    "page_view": N_("Page viewed"),
    "search": N_("Search"),
    "click": N_("Click"),
    "app_open": N_("App opened"),
    "store_visit": N_("Store visit"),
    "email_sent": N_("E-mail sent"),
    "campaign_sent": N_("Campaign sent"),
    "campaign_opened": N_("Campaign opened"),
    "campaign_clicked": N_("Campaign clicked"),
    "search_no_result": N_("Search without a result"),
    "rage_click": N_("Rage clicks"),
    "dead_click": N_("Click without effect"),
    "error": N_("Error"),
    "app_crash": N_("App crashed"),
    "login_failed": N_("Sign-in failed"),
    "form_abandoned": N_("Form abandoned"),
    "cart_abandoned": N_("Cart abandoned"),
    "contact": N_("Contact"),
    "queue": N_("Waited in a queue"),
    "purchase": N_("Purchase"),
    "return": N_("Return"),
    "delivery": N_("Delivery"),
    "complaint_opened": N_("Complaint opened"),
    "complaint_resolved": N_("Complaint resolved"),
    "loyalty_joined": N_("Joined the loyalty programme"),
    "loyalty_redeemed": N_("Loyalty points redeemed"),
    "discount_used": N_("Discount used"),
    "referral": N_("Referred somebody"),
    "unsubscribed": N_("Unsubscribed"),
    "survey_ces": N_("CES answer"),
    "survey_csat": N_("CSAT answer"),
    "survey_nps": N_("NPS answer"),
    "review": N_("Review"),
    "social_post": N_("Social post"),
    "action_taken": N_("Action taken"),
    "churned": N_("Left"),
    "won_back": N_("Won back"),
    "purchase_history": N_("Earlier purchases"),
}
ACTIONS = {
    "call_back_with_owner": N_("Call back, one owner to the end"),
    "call_back": N_("Call back"),
    "ask_what_went_wrong": N_("Ask what went wrong"),
    "close_the_loop_call": N_("Call about their answer"),
    "escalate_complaint": N_("Escalate the complaint"),
    "win_back_contact": N_("Get in touch again"),
    "win_back_offer": N_("Make an offer"),
    "send_voucher": N_("Send a voucher"),
    "preference_review": N_("Ask what they want to hear from us"),
}
STATES = {
    "mine": N_("mine"),
    "free": N_("nobody's"),
    "snoozed": N_("snoozed"),
    "untold": N_("without a signal"),
}
DIMENSIONS = {
    "channel": N_("Channel"),
    "touchpoint": N_("Touchpoint"),
    "stage": N_("Stage"),
    "product": N_("Product"),
    "location": N_("Location"),
    "agent": N_("Agent"),
    "segment": N_("Segment"),
    "campaign": N_("Campaign"),
    "topic": N_("Topic"),
    "kind": N_("Kind"),
    "source": N_("Source"),
    "level": N_("Risk level"),
    "team": N_("Team"),
}
ARMS = {"treated": N_("treated"), "holdout": N_("holdout")}
REFUSALS = {
    "malformed": N_("malformed"),
    "invalid": N_("invalid"),
    "from_the_future": N_("from the future"),
    "too_late": N_("too late"),
    "misrouted": N_("wrong partition"),
    "too_large": N_("too large"),
    "forged": N_("forged"),
    "failed": N_("failed"),
    "skipped": N_("left out"),
}
ROLES = {"viewer": N_("Viewer"), "agent": N_("Agent"), "admin": N_("Administrator")}
_ALL = {
    "channel": CHANNELS,
    "stage": STAGES,
    "level": LEVELS,
    "reason": REASONS,
    "dimension": DIMENSIONS,
    "kind": KINDS,
    "action": ACTIONS,
    "state": STATES,
    "arm": ARMS,
    "refusal": REFUSALS,
}
# Not in the call that takes it: there it would not be found for translation.
_UNNAMED = N_("none named")
_MISSING = {
    "channel": N_("no channel"),
    "stage": N_("no stage"),
    "touchpoint": N_("no touchpoint"),
    "topic": N_("no topic"),
}


def label(language: Language, sort: str, code: str | None) -> str:
    """The word for a code.

    Args:
        language: of the reader.
        sort: what the code is: channel, stage, level, reason, dimension, or any other.
        code: as the data have it; None where a touchpoint has no value.
    """
    if code is None:
        return language.gettext(_MISSING.get(sort, _UNNAMED))
    known = _ALL.get(sort, {}).get(code)
    if known is not None:
        return language.gettext(known)
    return code.replace("_", " ")[:1].upper() + code.replace("_", " ")[1:] if sort in _ALL else code


def code(language: Language, sort: str, text: str) -> str:
    """The code that a reader means by a word, in any case; the text itself where it is no such word."""
    known = _ALL.get(sort, {})
    wanted = text.casefold()
    for found, word in known.items():
        if wanted in (found.casefold(), word.casefold(), language.gettext(word).casefold()):
            return found
    return text


def place(language: Language, channel: str | None, touchpoint: str | None) -> str:
    """A touchpoint with its channel: App, payment page."""
    name = label(language, "channel", channel)
    return name if touchpoint is None else f"{name}, {touchpoint.replace('_', ' ')}"
