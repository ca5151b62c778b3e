"""Go to: pages, saved views and customers by some letters; the palette of `/` shows what this page finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.console import navigation
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page, customer_address
from cxstream.console.people import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.language import Language

_CUSTOMERS = """
SELECT customer FROM customers WHERE contains(lower(customer), lower($text))
ORDER BY customer <> $text, NOT starts_with(lower(customer), lower($text)), customer LIMIT $limit"""
_MOST = 8
_LEAST_LETTERS, _MOST_LETTERS = 2, 128


async def _show(ask: Ask) -> Mapping[str, Any]:
    text = ask.param("q").strip()[:_MOST_LETTERS]
    words, wanted = ask.language, text.casefold()
    pages = [
        (words.gettext(page.title), page.path, _also(words, page.name, wanted))
        for page in navigation.found().values()
        if (page.listed or page.name in {"views", "rejected"}) and ask.person.rank >= Role[page.role]
    ]
    views = [(view.name, view.address, view.address.partition("?")[0]) for view in ask.views]
    customers = []
    if ask.sees_customers and len(text) >= _LEAST_LETTERS:
        rows = await ask.reader.sql(_CUSTOMERS, {"text": text, "limit": _MOST})
        customers = [(row["customer"], customer_address(row["customer"]), "") for row in rows]
    pages = [each for each in pages if wanted in each[0].casefold() or each[2]]
    pages.sort(key=lambda each: (not each[0].casefold().startswith(wanted), wanted not in each[0].casefold()))
    groups = [(words.gettext(N_("Saved views")), views)]
    chosen = [(title, [each for each in found if wanted in each[0].casefold()]) for title, found in groups]
    return {
        "text": text,
        "hits": [
            group
            for group in (
                (words.gettext(N_("Pages")), pages),
                *chosen,
                (words.gettext(N_("Customers")), customers),
            )
            if group[1]
        ],
    }


def _also(words: Language, name: str, wanted: str) -> str:
    """The other words for a page, in either language, that hold what is wanted; "" for none."""
    if len(wanted) < _LEAST_LETTERS or name not in navigation.ALSO:
        return ""
    both = dict.fromkeys(
        [*words.gettext(navigation.ALSO[name]).split(", "), *navigation.ALSO[name].split(", ")]
    )
    return ", ".join(
        each
        for each in both
        if any(part.startswith(wanted) for part in (each.casefold(), *each.casefold().split()))
    )


PAGE = Page(
    name="find",
    path="/find",
    title=N_("Go to"),
    show=_show,
    scoped=False,
    listed=False,
)
