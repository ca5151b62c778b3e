"""Makes the pages of a large read model before somebody asks for them, so that nobody waits for seconds."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import duckdb
import structlog
from starlette.exceptions import HTTPException

from cxstream.console import results
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


async def keep_warm(pages: Iterable[Page], ask: Callable[[Page], Awaitable[Ask]], old_seconds: float) -> None:
    """Make the pages with their default period again and again, until it is cancelled.

    Args:
        pages: that there are.
        ask: for a page.
        old_seconds: after which a result is not shown any more.
    """
    warmed = [page for page in pages if page.listed and (page.scoped or page.name in _OTHERS)]
    while True:
        began = time.monotonic()
        for page in warmed:
            try:
                asked = await ask(page)
                if asked.touchpoints < results.LARGE:
                    break
                with results.page(asked.touchpoints):
                    await page.show(asked)
            except (CxstreamError, HTTPException, duckdb.Error) as error:
                _log.debug("a page was not made ahead", page=page.name, error=str(error))
            except Exception:  # noqa: BLE001 - a defect of one page
                # The other pages are made all the same; who asks for this one is told.
                _log.exception("a page was not made ahead", page=page.name)
        took = time.monotonic() - began
        await asyncio.sleep(max(_LEAST_SECONDS, old_seconds / _PART, _PAUSE * took))
