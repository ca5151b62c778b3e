"""The console in the process of a test, over a read model of made-up touchpoints."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette

from cxstream.console.app import create_app
from cxstream.settings import Settings, Warehouse
from cxstream.warehouse.store import Store
from view_rows import START, _insert, fill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime
    from pathlib import Path

    from cxstream.console.metrics import ConsoleMetrics
    from view_rows import Row

HOST = "http://127.0.0.1"
OWN = {"sec-fetch-site": "same-origin"}


def warehouse(
    path: Path,
    rows: Iterable[Row],
    signals: Iterable[Row] = (),
    cards: Iterable[Row] = (),
    places: Iterable[Row] = (),
) -> Path:
    """A file with these touchpoints, signals, score cards and signals about places."""
    with Store(path, Warehouse()) as store:
        fill(store.connection, rows)
        _insert(store.connection, "risk_signals", signals)
        _insert(store.connection, "score_cards", cards)
        _insert(store.connection, "place_signals", places)
    return path


def away(rows: Iterable[Row], until: datetime | None = None) -> set[int]:
    """Who churned and was not won back, of touchpoints before a time."""
    last = {}
    for row in sorted(rows, key=lambda each: (each["time"], each["partition"], each["offset"])):
        if row["kind"] in {"churned", "won_back"} and (until is None or row["time"] < until):
            last[row["customer_id"]] = row["kind"]
    return {customer for customer, kind in last.items() if kind == "churned"}


def card(customer_id: int, level: str, probability: float) -> Row:
    """The latest score card of a customer."""
    return {
        "customer_id": customer_id, "partition": 0, "offset": customer_id, "record": customer_id, "latest": True, "time": START,
        "effort": 40.0, "effort_halfwidth": 3.0, "satisfaction": 60.0, "satisfaction_halfwidth": 4.0,
        "probability": probability, "level": level, "announced": level, "acute": 0.0, "last_touch": START,
        "touches_1": 1, "touches_7": 2, "touches_30": 3, "touches_90": 4, "purchases": 1, "spent": 12.5, "model": "m",
        "features": "{}",
    }  # fmt: skip


def place_signal(n: int, change: str, time: datetime, **values: Any) -> Row:
    """A signal about a place, with what every one has, and these values."""
    row: Row = {
        "id": f"s-{n}", "time": time, "change": change, "dimension": "touchpoint", "channel": "web", "name": "checkout",
        "measure": "failure", "since": time - timedelta(hours=1), "visits": 20, "bad": 12, "share": 0.6, "usual": 0.02, "customers": 9,
        "reasons": '[{"kind": "error", "touchpoints": 14, "customers": 9, "evidence": "14 error"}]', "n": 0, "event": "{}",
        "sent": False, **values,
    }  # fmt: skip
    names = (row["dimension"], row["channel"], row["name"])
    return {**row, "subject": "/".join(each for each in names if each)}


@asynccontextmanager
async def console(
    path: Path,
    sections: dict[str, Any] | None = None,
    *,
    metrics: ConsoleMetrics | None = None,
    source: Any = None,
    is_served: bool = False,
    **settings: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that asks the console.

    Args:
        path: the read model.
        sections: other settings.
        metrics: told of what happens.
        source: what is read instead of the file.
        is_served: as a server runs it: pages are made ahead, and requests for erasures are read.
        settings: of the section `console`.
    """
    chosen = Settings(console=settings, **(sections or {}))  # type: ignore[arg-type]
    app = create_app(chosen, path, metrics=metrics, source=source, is_served=is_served)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    inner: Any = app
    while not isinstance(inner, Starlette):
        inner = inner.app
    lifespan = inner.router.lifespan_context(inner)
    async with lifespan, httpx.AsyncClient(transport=transport, base_url=HOST) as client:
        yield client


class _Reader(HTMLParser):
    """Collects the cells of tables, the links, and what a strict policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.links: list[str] = []
        self.blocked: list[str] = []
        self.text = ""
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.blocked += [name for name in values if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not (values.get("src") or "").startswith("/static/")):
            self.blocked.append(tag)
        if values.get("href"):
            self.links.append(values["href"] or "")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"} and self._cell is not None:
            self.tables[-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell.append(data)


def read(html: str) -> _Reader:
    """The tables, links and text of a page."""
    reader = _Reader()
    reader.feed(html)
    return reader
