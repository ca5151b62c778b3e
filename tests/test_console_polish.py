"""No page says an English word to somebody who reads Polish: the pages are walked in both languages and compared."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from console_app import card, console, place_signal, warehouse
from cxstream.console import navigation
from cxstream.console.language import language
from cxstream.model.rules import rules_of
from cxstream.settings import Settings
from test_console_language import texts
from view_rows import ACTIONS, CHOICES, EXPERIMENTS, START, made_up, made_up_signals

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [page for page in navigation.found().values() if "{" not in page.path]
ROWS = made_up(11, 1500, 60)
_RULES = rules_of(Settings().scoring, Settings().actions)
# Names of things, and what is the same in both languages.
_SAME = {
    *("cxstream", "Polski", "English", "CSV", "NPS", "CSAT", "CES", "CRM", "EUR", "UTC", "Chat", "default", "channel=web,app"),
    *("topic!=invoice", "segment=gold", "campaign_sent", "email_sent", "insights.measures", "Enter", "segment=nobody", "#refund", _RULES.label),
}  # fmt: skip
_WORD = re.compile(r"[A-Za-zżźćńółęąśŻŹĆĄŚĘŁÓŃ]{3,}")
_BEHIND = (
    "view=places&of=failed_steps&by=channel,touchpoint&cell=channel=web&cell=touchpoint=checkout",
    "view=steps&of=journeys&by=step,from_place,to_place,outcome&cell=step=1&cell=outcome=on",
    "view=campaigns&of=followed_opened&by=campaign&cell=campaign=autumn",
    "view=voice&of=detractors&by=topic&cell=topic=invoice",
    "view=service&of=first_resolved",
    "view=value&of=returns",
    "view=worth&of=valued&by=part&cell=part=high",
    "view=empathy&of=count&by=quadrant,item&cell=quadrant=does&cell=item=page_view+on+web",
    "at_risk=1",
)
_MORE = (
    *(f"/customers?{address}" for address in _BEHIND),
    *("/customers/c-1", "/customers/c-2", "/touchpoints?measure=change", "/touchpoints?measure=mood", "/journeys?per=session"),
    *("/journeys?ours=all&who=left", "/journeys?place=kind&per=customer", "/empathy?all=1", "/campaigns?period=28d"),
    *("/value?band=effort", "/service?by=topic", "/voice?by=touchpoint", "/quality?by=source", "/consistency?of=stage"),
    *("/customers?view=nosuch", "/today?period=nosuch", "/nosuch", "/today?where=segment=nobody", "/voice?where=segment=nobody"),
)  # fmt: skip


class _Texts(HTMLParser):
    """Texts and names that a reader meets, without those that say that they are English."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._skipped: list[bool] = []
        self._kept = {"title", "aria-label", "placeholder", "alt"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in {"meta", "link", "input", "br", "col", "path", "rect", "circle", "img"}:
            is_other = values.get("lang") == "en" and tag != "html"
            self._skipped.append(is_other or tag in {"code", "script", "style"} or any(self._skipped))
        if not any(self._skipped):
            self.found |= {
                value for name, value in values.items() if value and name in self._kept - {"placeholder"}
            }

    def handle_endtag(self, tag: str) -> None:
        if self._skipped and tag not in {"path", "rect", "circle"}:
            self._skipped.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._skipped) and data.strip():
            self.found.add(" ".join(data.split()))


def _read(html: str) -> set[str]:
    reader = _Texts()
    reader.feed(html)
    return reader.found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    worth = {"p_alive": 0.7, "clv": 90.0, "value_at_risk": 40.0, "satisfaction_halfwidth": 49.0}
    cards = [{**card(n, ("critical", "high", "elevated", "none")[n % 4], 0.9), **worth} for n in range(1, 41)]
    places = [
        place_signal(1, "raised", START.replace(day=20)),
        place_signal(2, "raised", START.replace(day=19), dimension="topic", channel=None, name="invoice", measure="wait"),
    ]  # fmt: skip
    signals = made_up_signals(11, ROWS, 200)
    return warehouse(tmp_path_factory.mktemp("polish") / "w.duckdb", ROWS, signals, cards, places)


def _data() -> set[str]:
    """Words of the data: they are as the company wrote them."""
    found = {value for choices in CHOICES.values() for value in choices if value}
    found |= {*EXPERIMENTS, *(name.capitalize() for name in ACTIONS if name)}
    # The digest of the rules may have letters enough for a word.
    found |= {rules_of(Settings().scoring, Settings().actions).label}
    return {word for value in found for word in _WORD.findall(value)}


async def test_no_page_speaks_english_to_who_reads_polish(path: Path) -> None:
    polish = language("pl")
    same = {word for text in _SAME for word in _WORD.findall(text)} | _data()
    for message in texts():
        for one in message.id if isinstance(message.id, tuple) else (message.id,):
            # Words that the translation has, too: segment, alert.
            same |= set(_WORD.findall(one)) & set(_WORD.findall(polish.gettext(one)))
    left: dict[str, Any] = {}
    async with console(path) as client:
        for address in (*(page.path for page in PAGES), *_MORE):
            pages = []
            for code in ("en", "pl"):
                client.cookies.set("language", code)
                pages.append(_read((await client.get(address)).text))
            english, here = pages
            words = {text: set(_WORD.findall(text)) - same for text in here & english}
            found = sorted(text for text, left_over in words.items() if left_over)
            if found:
                left[address] = found
    assert left == {}
