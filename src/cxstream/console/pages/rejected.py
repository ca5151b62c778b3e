"""Rejected: the records that could not be used, why, and what would mend them; administrators send them again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException

from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.people import Role
from cxstream.console.rejects import SHOWN, since_ms
from cxstream.logs.printable import printable
from cxstream.model.errors import BrokerError
from cxstream.rejected.listing import Filters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.rejects import Rejects
    from cxstream.rejected.record import Rejection
    from cxstream.rejected.resend import Result

_DAYS = {"1": 1, "7": 7, "30": 30}
_MOST_CHARACTERS = 4000


async def _show(ask: Ask) -> Mapping[str, Any]:
    nothing: dict[str, Any] = {
        "closed": False,
        "job": None,
        "one": None,
        "rows": [],
        "summary": [],
        "broken": "",
    }
    rejects = ask.rejects
    if rejects is None or not rejects.is_open:
        return {**nothing, "closed": True}
    is_admin = ask.person.rank >= Role.admin
    if ask.param("job"):
        if not is_admin:
            raise HTTPException(403, "admin")
        job = rejects.job(ask.param("job"))
        if job is None:
            raise HTTPException(404)
        return {**nothing, "job": job, "results": [(each, _said(ask, each)) for each in job.results]}
    try:
        if ask.param("place"):
            return {**nothing, "one": await _one(ask, rejects), "is_admin": is_admin}
        return {**nothing, **await _list(ask, rejects), "is_admin": is_admin}
    except BrokerError as error:
        return {**nothing, "broken": str(error)}


async def _list(ask: Ask, rejects: Rejects) -> dict[str, Any]:
    days = ask.choice("days", "7", *_DAYS)
    filters = Filters(
        reason=ask.param("reason") or None,
        field=ask.param("field") or None,
        source=ask.param("source") or None,
        since=since_ms(_DAYS[days]),
    )
    listing, newest = await rejects.listed(filters)
    rows = []
    for each in newest:
        known = listing.glimpses[each.place]
        rows.append(
            {
                **_seen(each),
                "source": known.source,
                "kind": known.kind,
                "value": known.value if _sees(ask) else "",
                "link": ask.here(place=str(each.place)),
            }
        )
    summary = [
        {"reason": reason, "field": name, "count": count, "again": again,
         "link": ask.here(reason=reason, field=name or None)}
        for reason, name, count, again in listing.summary()
    ]  # fmt: skip
    return {
        "rows": rows,
        "summary": summary,
        "open": len(listing.open),
        "most": SHOWN,
        "days": days,
        "ranges": [
            (value, ask.language.ngettext("{n} day", "{n} days", size), ask.here(days=value))
            for value, size in _DAYS.items()
        ],
        "all": ask.here(reason=None, field=None, source=None) if ask.param("reason") else "",
    }


async def _one(ask: Ask, rejects: Rejects) -> dict[str, Any]:
    found = await rejects.shown(ask.param("place"))
    if found is None:
        raise HTTPException(404)
    rejection, explanation, again = found
    sees = _sees(ask)
    excerpt = explanation.where.excerpt() if explanation.where and sees else None
    wanted = explanation.wanted
    return {
        **_seen(rejection),
        # The sentences quote what is wrong.
        "problems": [(each.level, each.field, each.message if sees else "") for each in explanation.problems],
        "message": explanation.message if sees else "",
        "excerpt": [printable(line) for line in excerpt] if excerpt else None,
        "wanted": msgspec.json.format(msgspec.json.encode(wanted), indent=2).decode() if wanted else "",
        "value": printable(_text(rejection.value)[:_MOST_CHARACTERS], lines=True) if sees else "",
        "key": printable(_text(rejection.key)) if sees else "",
        "fix": explanation.fix if sees else None,
        "again": again,
        "sees": sees,
        "back": ask.here(place=None),
    }


def _seen(rejection: Rejection) -> dict[str, Any]:
    """What everybody who may see this page sees of a record: no customer, and nothing that was written."""
    return {
        "place": str(rejection.place),
        "reason": rejection.reason,
        "field": rejection.field,
        "time": datetime.fromtimestamp(rejection.time_ms / 1000, UTC).replace(tzinfo=None),
    }


def _said(ask: Ask, result: Result) -> str:
    """What is said of a record that was to be sent again; why it was refused quotes what stands there."""
    return result.message if _sees(ask) or result.status != "refused" else ""


def _sees(ask: Ask) -> bool:
    """Whether values and keys are shown: to administrators, where the warehouse has no pseudonyms."""
    return ask.person.rank >= Role.admin and ask.settings.privacy.key is None


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="backslashreplace")


PAGE = Page(
    name="rejected",
    path="/rejected",
    title=N_("Rejected records"),
    show=_show,
    scoped=False,
    listed=False,
    role="agent",
)
