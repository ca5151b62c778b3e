"""Makes the pages of a large read model before somebody asks for them, so that nobody waits for seconds."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle
from typing import TYPE_CHECKING

import duckdb
import structlog
from starlette.exceptions import HTTPException

from cxstream.console import results
from cxstream.console.scope import DEFAULT, PERIODS
from cxstream.model.errors import CxstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cxstream.console.page import Ask, Page

# Pages without a period that are slow.
_OTHERS = frozenset({"models"})
# Of the time that results may be old: until then they are made again.
_PART = 3
# So many times as long as all pages take, they are left alone.
_PAUSE = 2
_LEAST_SECONDS = 10.0

_log = structlog.get_logger("cxstream.console")


async def keep_warm(
    pages: Iterable[Page], ask: Callable[[Page, str], Awaitable[Ask]], old_seconds: float
) -> None:
    """Make the pages with their named periods again and again, until it is cancelled.

    The first time with all of them, the default first; then with the default, and with one of the others in turn.

    Args:
        pages: that there are.
        ask: for a page and a period.
        old_seconds: after which a result is not shown any more.
    """
    warmed = [page for page in pages if page.listed and (page.scoped or page.name in _OTHERS)]
    others = [period for period in PERIODS if period != DEFAULT]
    wanted, turn = [DEFAULT, *others], cycle(others)
    while True:
        began = time.monotonic()
        for period in wanted:
            for page in warmed:
                if page.scoped or period == DEFAULT:
                    await _make(page, period, ask)
        wanted = [DEFAULT, next(turn)]
        took = time.monotonic() - began
        await asyncio.sleep(max(_LEAST_SECONDS, old_seconds / _PART, _PAUSE * took))


async def _make(page: Page, period: str, ask: Callable[[Page, str], Awaitable[Ask]]) -> None:
    try:
        asked = await ask(page, period)
        if asked.touchpoints >= results.LARGE:
            with results.page(asked.touchpoints):
                await page.show(asked)
    except (CxstreamError, HTTPException, duckdb.Error) as error:
        _log.debug("a page was not made ahead", page=page.name, period=period, error=str(error))
    except Exception:  # noqa: BLE001 - a defect of one page
        # The other pages are made all the same; who asks for this one is told.
        _log.exception("a page was not made ahead", page=page.name, period=period)
