"""Saved views: the own ones, with their links, to be renamed and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.console.language import N_
from cxstream.console.page import Ask, Page

if TYPE_CHECKING:
    from collections.abc import Mapping


async def _show(ask: Ask) -> Mapping[str, Any]:
    base = str(ask.request.base_url).rstrip("/")
    return {"views": [{"view": each, "link": f"{base}/views/{each.id}"} for each in ask.views]}


PAGE = Page(
    name="views",
    path="/views",
    title=N_("Saved views"),
    show=_show,
    scoped=False,
    listed=False,
)
