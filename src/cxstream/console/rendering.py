"""Templates: an environment for each language; everything is escaped, and nothing is left undefined."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import escape
from starlette.responses import HTMLResponse

from cxstream.console import assets, drawing, evidence, glossary, labels, navigation, scope
from cxstream.console.change import direction
from cxstream.console.language import LANGUAGES, language
from cxstream.console.page import customer_address
from cxstream.console.people import NOBODY, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from cxstream.console.language import Language
    from cxstream.console.page import Ask, Page
    from cxstream.console.people import Person
    from cxstream.settings import Settings

THEMES = ("light", "dark")


class Templates:
    """Renders the templates.

    Args:
        settings: of the installation.
        pages: all pages, by name.
    """

    def __init__(self, settings: Settings, pages: dict[str, Page]) -> None:
        self._pages = pages
        self._environments = {code: _environment(language(code)) for code in LANGUAGES}
        self._common = {
            "company": settings.console.company,
            "tabs": [pages[name] for name in navigation.TABS if name in pages and pages[name].listed],
            "pages": pages,
        }
        # Nobody can write them into what a page shows.
        self._marks = {name: f"mark-{secrets.token_hex(16)}" for name in ("name", "form_token", "saved_menu")}

    def response(
        self, name: str, request: Request, language: Language, status: int = 200, **values: Any
    ) -> Response:
        """A template as a page.

        Args:
            name: of the template.
            request: that is answered.
            language: of the reader.
            status: of HTTP.
            values: for the template.
        """
        return _page(self._text(name, request, language, values), status)

    def common(self, name: str, request: Request, language: Language, **values: Any) -> str:
        """A template as everybody of a role sees it, with marks in the place of what is about the person alone."""
        person = _person(request)
        marked = {
            "person": msgspec.structs.replace(person, name=self._marks["name"] if person.name else ""),
            "form_token": self._marks["form_token"],
            "saved_menu": self._marks["saved_menu"],
        }
        return self._text(name, request, language, {**values, **marked})

    def personal(self, text: str, ask: Ask) -> Response:
        """What `common` made, for the person who asks."""
        found = {
            "name": escape(_person(ask.request).name),
            "form_token": escape(getattr(ask.request.state, "form_token", "")),
            "saved_menu": self._text("saved.html", ask.request, ask.language, {"ask": ask}).rstrip("\n"),
        }
        by_mark = {mark: str(found[name]) for name, mark in self._marks.items()}
        # At once: nothing that is put in is looked at again.
        return _page(re.sub("|".join(by_mark), lambda mark: by_mark[mark[0]], text))

    def _text(self, name: str, request: Request, language: Language, values: dict[str, Any]) -> str:
        person = _person(request)
        common: dict[str, Any] = {
            **self._common,
            "groups": navigation.groups(
                {each.name: each for each in self._pages.values() if person.rank >= Role[each.role]}
            ),
            "person": person,
            "form_token": getattr(request.state, "form_token", ""),
            "theme": theme_of(request),
            "address": address_of(request),
            "ask": None,
            "page": None,
            "old": None,
            "has_failed": False,
            "saved_menu": "",
        }
        text = self._environments[language.code].get_template(name).render({**common, **values})
        hidden = [
            each.path.partition("{")[0] for each in self._pages.values() if person.rank < Role[each.role]
        ]
        return _unlinked(text, hidden) if hidden else text


def theme_of(request: Request) -> str:
    """The theme that the reader has chosen; "" for none."""
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in THEMES else ""


def address_of(request: Request) -> str:
    """Path and parameters of the address."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _person(request: Request) -> Person:
    return getattr(request.state, "person", None) or NOBODY


def _page(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, headers={"vary": "cookie, accept-language"})


def _unlinked(text: str, hidden: Sequence[str]) -> str:
    """A page without the links to these paths: their text stays. So no page can lead a role to where it may not go."""
    paths = "|".join(re.escape(path.rstrip("/")) for path in hidden)
    return re.sub(rf'<a [^>]*?href="(?:{paths})(?=[/?.#"])[^>]*>(.*?)</a>', r"\1", text, flags=re.DOTALL)


def _environment(chosen: Language) -> Environment:
    environment = Environment(
        loader=PackageLoader("cxstream.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(chosen.catalogue, newstyle=True)  # type: ignore[attr-defined]
    environment.globals.update(
        language=chosen,
        ngettext=chosen.ngettext,
        direction=direction,
        drawing=drawing,
        asset=assets.url,
        periods=scope.PERIODS,
        dimensions=labels.DIMENSIONS,
        roles=labels.ROLES,
        languages=LANGUAGES,
        terms=lambda page: glossary.of(chosen, page),
        label=lambda sort, code: labels.label(chosen, sort, code),
        place=lambda channel, touchpoint: labels.place(chosen, channel, touchpoint),
        level=lambda code, hidden=False: drawing.level(
            code, labels.label(chosen, "level", code), hidden=hidden
        ),
    )
    environment.filters.update(
        number=chosen.number,
        short=chosen.short,
        percent=chosen.percent,
        day=chosen.day,
        full_day=chosen.full_day,
        customer_address=customer_address,
        long_day=chosen.long_day,
        moment=chosen.moment,
        duration=chosen.duration,
        listing=chosen.listing,
        evidence=lambda text, day=None: evidence.shown(chosen, text, day),
    )
    return environment
