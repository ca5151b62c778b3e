"""What somebody may have meant who wrote a name that the contract does not have.

A guess is `sure` where only the spelling differs (case, separators, one letter) or where the name is a usual one for
the same thing; anything else that is merely similar is worth a question, and not worth a repair.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cxstream.model.changes import CHANGE_TYPE, ChangeData
from cxstream.model.enumerations import CHANNELS
from cxstream.model.events import Touchpoint
from cxstream.model.fields import Data
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE, Kind, type_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ATTRIBUTES = ("specversion", "type", *Touchpoint.__struct_fields__)
FIELDS = Data.__struct_fields__
_OF_TYPE = {kind.type: kind.spec.data.__struct_fields__ for kind in Kind} | {
    CHANGE_TYPE: ChangeData.__struct_fields__
}

_ALIKE = 0.7
_LONGEST = 100  # characters of a name that is worth a guess
_NO_LETTER = re.compile(r"[\W_]+")
_TYPE = re.compile(r"(?:cx\.)?(?:touchpoint\.)?(.*?)(?:\.v\d+)?", re.IGNORECASE | re.DOTALL)
# A value in another unit must not be taken for one in ours.
_OTHER_UNIT = re.compile(r"(?:ms|millis|min|mins|minutes|h|hours|cents|minor|percent|pct)$", re.IGNORECASE)


def fields_of(event_type: str) -> tuple[str, ...]:
    """The fields of `data` of an event type; those of all kinds for an unknown one."""
    return _OF_TYPE.get(event_type, FIELDS)


class Guess(NamedTuple):
    """What was probably meant.

    Attributes:
        name: a name of the contract.
        sure: nothing else can have been meant.
    """

    name: str
    sure: bool


def _table(lines: Mapping[str, str]) -> dict[str, str]:
    return {word: name for name, words in lines.items() for word in words.split()}


_SAME_ATTRIBUTE = _table(
    {
        "subject": "customer customerid customernumber userid user clientid memberid",
        "time": "timestamp ts eventtime occurredat happenedat createdat datetime date",
        "type": "eventtype kind event eventname",
        "id": "eventid messageid uuid guid",
        "source": "origin producer system sourcesystem",
        "specversion": "version ceversion",
        "data": "payload body properties attributes",
    }
)
_SAME_FIELD = _table(
    {
        "wait_s": "wait waited waittime waitingtime waitseconds waitsec queuetime",
        "handle_s": "handled handletime handlingtime handleseconds talktime",
        "touchpoint": "place page screen",
        "topic": "subjectline category issue",
        "case_id": "case ticket ticketid complaintid",
        "order_id": "order ordernumber",
        "currency": "curr currencycode",
        "score": "nps csat ces answer",
        "rating": "stars",
        "text": "comment message",
        "lang": "language locale",
        "hashtags": "tags",
        "late_days": "dayslate delaydays",
        "resolved": "solved",
        "location": "shop branch storeid",
        "session": "sessionid visitid",
        "campaign": "campaignid utmcampaign",
        "agent": "agentid",
        "channel": "medium",
        "action": "actiontaken",
        "action_id": "signalid",
        "arm": "group experimentgroup",
    }
)
_SAME_CHANNEL = _table(
    {
        "call": "phone telephone tel voice callcenter callcentre hotline ivr phonecall",
        "email": "mail",
        "web": "website browser online internet desktop site",
        "app": "mobile ios android mobileapp iphone",
        "store": "shop retail branch pos instore outlet",
        "chat": "livechat webchat messenger",
        "social": "twitter facebook instagram linkedin tiktok socialmedia",
        "crm": "salesforce hubspot",
    }
)
_SAME_STAGE = _table({"consideration": "evaluation", "purchase": "buying", "service": "support"})
_SAME_ARM = _table({"holdout": "control controlgroup", "treated": "treatment test"})
_SAME_KIND = _table(
    {
        "page_view": "page view pageviewed pagevisit",
        "purchase": "order checkout buy orderplaced ordercompleted",
        "return": "refund",
        "contact": "call phonecall supportcall ticket",
        "app_crash": "crash",
        "complaint_opened": "complaint",
        "survey_nps": "nps",
        "survey_csat": "csat",
        "survey_ces": "ces",
        "error": "exception",
        "unsubscribed": "unsubscribe optout",
        "churned": "churn cancelled canceled",
    }
)
_LABELS = tuple(kind.label for kind in Kind)


def attribute(name: str) -> Guess | None:
    """The attribute of the envelope that is meant."""
    return _guess(name, ATTRIBUTES, _SAME_ATTRIBUTE)


def field(name: str) -> Guess | None:
    """The field of `data` that is meant."""
    return _guess(name, FIELDS, _SAME_FIELD)


def value(path: str, text: str, known: Iterable[str]) -> Guess | None:
    """The value of an enumeration that is meant.

    Args:
        path: of the field, as `data.channel`.
        text: what stands there.
        known: what may stand there.
    """
    same = {"data.channel": _SAME_CHANNEL, "data.stage": _SAME_STAGE, "data.arm": _SAME_ARM}.get(path, {})
    allowed = tuple(known)
    if path == "data.channel":
        # What is near to a channel that this kind does not have is not another one that it has.
        guess = _guess(text, CHANNELS, same)
        return guess if guess is not None and guess.name in allowed and guess.name != text else None
    return _guess(text, allowed, same)


def event_type(text: str, own: Iterable[str] = ()) -> Guess | None:
    """The event type that is meant.

    Args:
        text: what stands there.
        own: kinds of the company's own.
    """
    if text.strip().lower() in {TICK_TYPE, FORGET_TYPE, RULES_TYPE, CHANGE_TYPE}:
        return Guess(text.strip().lower(), sure=True)
    found, labels = _TYPE.fullmatch(text.strip()), (*_LABELS, *own)
    guess = _guess(found[1] if found else text, labels, _SAME_KIND)
    if guess is None:
        guess = _guess(text.rpartition(".")[2], labels, _SAME_KIND)
    if guess is None:
        return None
    whole = type_of(guess.name)
    # Of another version the fields may mean something else.
    other = re.search(r"\.v(\d+)$", text.strip(), re.IGNORECASE)
    return Guess(whole, guess.sure and (other is None or other[1] == "1"))


def _guess(name: str, known: tuple[str, ...], same: Mapping[str, str]) -> Guess | None:
    return _remembered(name, known, tuple(same.items())) if len(name) <= _LONGEST else None


@lru_cache(maxsize=2048)
def _remembered(name: str, known: tuple[str, ...], same: tuple[tuple[str, str], ...]) -> Guess | None:
    plain = {_bare(each): each for each in known}
    bare = _bare(name)
    if not bare:
        return None
    if bare in plain:
        return Guess(plain[bare], sure=True)
    if (meant := dict(same).get(bare)) in known:
        return Guess(str(meant), sure=True)
    near = [each for each in plain if len(each) > 2 and _one_edit(bare, each)]  # noqa: PLR2004
    if len(near) == 1:
        return Guess(plain[near[0]], sure=not _OTHER_UNIT.search(name))
    longer = [each for each in plain if len(each) > 2]  # noqa: PLR2004 - x and y are like everything
    close = difflib.get_close_matches(bare, near or longer, 1, _ALIKE)
    return Guess(plain[close[0]], sure=False) if close else None


def _bare(name: str) -> str:
    """A name without case and separators."""
    return _NO_LETTER.sub("", name).lower()


def _one_edit(one: str, other: str) -> bool:
    """Whether one letter more, less or other, or two exchanged, makes one word of the other."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return True
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
