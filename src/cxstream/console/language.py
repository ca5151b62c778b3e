"""Words, numbers and dates in the reader's language.

Catalogues are `locale/CODE/console.po`, read when the server starts. Text is marked by `_("...")` in templates and `N_("...")`
in Python.
"""

from __future__ import annotations

import io
from datetime import date, datetime, timedelta
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources
from typing import TYPE_CHECKING

from babel import Locale, dates
from babel.lists import format_list
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

LANGUAGES = {"en": "English", "pl": "Polski"}
DEFAULT = "en"

# Days before months, as both languages have it here.
_LOCALES = {"en": Locale("en", "GB"), "pl": Locale("pl", "PL")}
_SPACE, _MINUS, _DASH = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}", "\N{EN DASH}"
_MILLION = 1_000_000
_SECONDS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def N_(text: str) -> str:  # noqa: N802 - the customary name
    """Marks text that is translated where it is shown."""
    return text


class Language:
    """A language: its catalogue, and how it writes numbers and times.

    Attributes:
        code: as in `lang`.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self.locale = _LOCALES[code]
        self.catalogue = _catalogue(code)

    def gettext(self, text: str) -> str:
        """A text in this language."""
        return self.catalogue.gettext(text) if text else ""

    def ngettext(self, one: str, many: str, number: int) -> str:
        """A text with the form that goes with a number; `{n}` in it is the number."""
        return self.catalogue.ngettext(one, many, number).replace("{n}", self.number(number))

    def number(self, value: float | Decimal | None, decimals: int = 0, *, sign: bool = False) -> str:
        """1,769 or 1 769; a dash for None."""
        if value is None:
            return _DASH
        text = f"{abs(value):,.{decimals}f}"
        if self.code == "pl":
            text = text.replace(",", _SPACE).replace(".", ",")
        if float(f"{value:.{decimals}f}") < 0:
            return _MINUS + text
        return f"+{text}" if sign and float(f"{value:.{decimals}f}") > 0 else text

    @staticmethod
    def difference(before: float, after: float, decimals: int = 0) -> float:
        """What two numbers differ by as they are shown: a reader who subtracts them finds the same.

        >>> f"{Language.difference(0.924, 0.966, 2):.2f}"
        '0.05'
        """
        return float(f"{after:.{decimals}f}") - float(f"{before:.{decimals}f}")

    def short(self, value: float | None) -> str:
        """A large count in few digits: 2.41 M."""
        if value is None or abs(value) < _MILLION:
            return self.number(value)
        return f"{self.number(value / _MILLION, 2)}{_SPACE}{self.gettext('M')}"

    def percent(self, share: float | None, decimals: int = 0) -> str:
        """A share of 0..1 in per cent."""
        return _DASH if share is None else f"{self.number(100 * share, decimals)}%"

    def interval(
        self, low: float | None, high: float | None, decimals: int = 1, *, sign: bool = False
    ) -> str:
        """[1.5, 2.7] or [1,5; 2,7]."""
        if low is None or high is None:
            return _DASH
        between = "; " if self.code == "pl" else ", "
        ends = (self.number(end, decimals, sign=sign) for end in (low, high))
        return f"[{between.join(ends)}]".replace(" ", _SPACE)

    def day(self, value: date | None) -> str:
        """26 Nov."""
        return _DASH if value is None else dates.format_skeleton("MMMd", value, locale=self.locale)

    def long_day(self, value: date | None) -> str:
        """Thursday 26 November."""
        if value is None:
            return _DASH
        return dates.format_date(value, "EEEE d MMMM", locale=self.locale)

    def full_day(self, value: date | None) -> str:
        """26 Nov 2026."""
        return _DASH if value is None else dates.format_skeleton("yMMMd", value, locale=self.locale)

    def weekday(self, value: date) -> str:
        """The first letter of a weekday."""
        return dates.format_date(value, "ccccc", locale=self.locale)

    def axis_day(self, value: date) -> str:
        """26 Nov, or 26.11 in Polish."""
        return f"{value:%d.%m}" if self.code == "pl" else self.day(value)

    def moment(self, value: datetime | None) -> str:
        """26 Nov 14:05."""
        return _DASH if value is None else f"{self.day(value)}{_SPACE}{value:%H:%M}"

    def duration(self, value: timedelta | float | None) -> str:
        """3 d 20 h; the two largest units. What has not begun yet lasts 0 s."""
        if value is None:
            return _DASH
        seconds = max(round(value.total_seconds() if isinstance(value, timedelta) else value), 0)
        parts: list[str] = []
        for size, unit in _SECONDS:
            if seconds >= size or (unit == "s" and not parts):
                parts.append(f"{seconds // size}{_SPACE}{unit}")
                seconds %= size
            elif parts:
                break
        return _SPACE.join(parts[:2])

    def listing(self, items: Iterable[str]) -> str:
        """One, two and three."""
        return format_list(list(items), locale=self.locale)


@cache
def language(code: str) -> Language:
    """The language of a code in LANGUAGES."""
    return Language(code)


def negotiated(cookie: str | None, accepted: str) -> Language:
    """The language that the reader has chosen, else the first that the browser asks for."""
    if cookie in LANGUAGES:
        return language(cookie)
    wanted: list[tuple[float, int, str]] = []
    for part in accepted.split(","):
        name, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), len(wanted), name.partition("-")[0].lower()))
        except ValueError:
            continue
    return language(next((code for _, _, code in sorted(wanted) if code in LANGUAGES), DEFAULT))


def _catalogue(code: str) -> NullTranslations:
    if code == DEFAULT:
        return NullTranslations()
    source = resources.files("cxstream.console") / "locale" / code / "console.po"
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(source.read_bytes()), locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)
