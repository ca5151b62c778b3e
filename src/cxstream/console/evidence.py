"""The evidence of a reason in the reader's language.

Signals have it in English, as `cxstream.scoring.words` writes it, and keep it. Here its parts are read again; a part that is not
known, such as a kind of the company's own, stays as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup

from cxstream.console.language import DEFAULT, N_

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from cxstream.console.language import Language

    Reading = Callable[[Language, re.Match[str]], str]

# A comma within quotes belongs to the name of a topic.
_PART = re.compile(r"(?:about '.*?'(?=$|, | today| in \d)|[^,]|,(?! ))+", re.DOTALL)
_SPAN = re.compile(r"^(.*?) (?:(today)|in (\d{1,9}) days)$", re.DOTALL)


def _counted(one: str, many: str, text: Callable[[Language, int], str]) -> tuple[str, Reading]:
    return rf"(\d{{1,9}}) (?:{one}|{many})", lambda words, found: text(words, int(found[1]))


def _said(pattern: str, message: str, decimals: int = 0) -> tuple[str, Reading]:
    """A sentence whose groups are numbers, by their names."""

    def read(words: Language, found: re.Match[str]) -> str:
        numbers = {name: words.number(float(each), decimals) for name, each in found.groupdict().items()}
        return words.gettext(message) % numbers

    return pattern, read


def _since(words: Language, found: re.Match[str]) -> str:
    if found["days"] is None:
        return words.gettext("since today")
    return words.ngettext("for {n} day", "for {n} days", int(found["days"]))


def _ago(words: Language, text: str) -> str:
    if text in {"today", "yesterday"}:
        return words.gettext(N_("today")) if text == "today" else words.gettext(N_("yesterday"))
    return words.ngettext("{n} day ago", "{n} days ago", int(text.split(maxsplit=1)[0]))


def _contacts(words: Language, found: re.Match[str]) -> str:
    contacts = words.ngettext("{n} contact", "{n} contacts", int(found["n"]))
    if found["topic"] is None:
        return contacts
    return words.gettext("%(contacts)s about '%(topic)s'") % {"contacts": contacts, "topic": found["topic"]}


_AGO = r"(today|yesterday|\d{1,9} days ago)"
_OPEN = r"(?:since today|for (?P<days>\d{1,9}) days?)"
_READINGS: tuple[tuple[str, Reading], ...] = (
    (r"(?P<n>\d{1,9}) contacts?(?: about '(?P<topic>.*)')?", _contacts),
    (
        r"(?P<n>\d{1,9}) about '(?P<topic>.*)'",
        lambda words, found: words.gettext("%(n)s about '%(topic)s'") % {"n": words.number(int(found["n"])), "topic": found["topic"]},
    ),
    _said(r"(?P<n>\d{1,9}) min waited", N_("%(n)s min waited")),
    _said(r"(?P<n>\d{1,9}) s waited", N_("%(n)s s waited")),
    _counted("transfer", "transfers", lambda words, n: words.ngettext("{n} transfer", "{n} transfers", n)),
    _counted("contact given up", "contacts given up", lambda words, n: words.ngettext("{n} contact given up", "{n} contacts given up", n)),
    _counted("contact unresolved", "contacts unresolved", lambda words, n: words.ngettext("{n} contact unresolved", "{n} contacts unresolved", n)),
    _counted("failed digital step", "failed digital steps", lambda words, n: words.ngettext("{n} failed digital step", "{n} failed digital steps", n)),
    _counted("late delivery", "late deliveries", lambda words, n: words.ngettext("{n} late delivery", "{n} late deliveries", n)),
    _counted("complaints open", "complaints open", lambda words, n: words.ngettext("{n} complaint open", "{n} complaints open", n)),
    (rf"complaint open {_OPEN}", lambda words, found: words.gettext("complaint open %(since)s") % {"since": _since(words, found)}),
    (rf"the oldest {_OPEN}", lambda words, found: words.gettext("the oldest %(since)s") % {"since": _since(words, found)}),
    (r"no open complaint", lambda words, _: words.gettext("no open complaint")),
    _said(r"effort (?P<n>-?\d{1,9}) of 100 over the window", N_("effort %(n)s of 100 over the window")),
    _said(r"effort (?P<n>-?\d{1,9}) of 100", N_("effort %(n)s of 100")),
    (r"less than usual", lambda words, _: words.gettext("less than usual")),
    _said(
        r"effort (?P<week>-?\d{1,9}) of 100 this week against (?P<n>-?\d{1,9}) over the window",
        N_("effort %(week)s of 100 this week against %(n)s over the window"),
    ),
    _said(r"satisfaction (?P<n>-?\d{1,9}) of 100", N_("satisfaction %(n)s of 100")),
    (r"with recent answers", lambda words, _: words.gettext("with recent answers")),
    (r"inferred", lambda words, _: words.gettext("inferred")),
    (r"no answer given", lambda words, _: words.gettext("no answer given")),
    _said(r"NPS answer (?P<n>\d{1,9})", N_("NPS answer %(n)s")),
    (rf"{_AGO}", lambda words, found: _ago(words, found[1])),
    (r"no touch for (\d{1,9}) days?", lambda words, found: words.ngettext("no touch for {n} day", "no touch for {n} days", int(found[1]))),
    _said(r"usually one every (?P<n>\d{1,9}\.\d) days", N_("usually one every %(n)s days"), 1),
    _said(r"usually one every (?P<n>\d{1,9}) days", N_("usually one every %(n)s days")),
    (rf"last purchase {_AGO}", lambda words, found: words.gettext("last purchase %(ago)s") % {"ago": _ago(words, found[1])}),
    (r"the only one", lambda words, _: words.gettext("the only one")),
    (rf"unsubscribed {_AGO}", lambda words, found: words.gettext("unsubscribed %(ago)s") % {"ago": _ago(words, found[1])}),
    (r"(\d{1,9}) active days? of late", lambda words, found: words.ngettext("{n} active day of late", "{n} active days of late", int(found[1]))),
    _said(r"usually (?P<n>\d{1,9}\.\d) in that time", N_("usually %(n)s in that time"), 1),
    (r"earlier contacts did not help", lambda words, _: words.gettext("earlier contacts did not help")),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern, re.DOTALL), read) for pattern, read in _READINGS)
# What is true on one day only.
_RELATIVE = re.compile(r"\b(?:today|yesterday|ago|this week|of late|for \d+ days?)\b")
_OWN = re.compile(r"\d+ [\w.-]+")


def read(words: Language, text: str) -> tuple[str, bool]:
    """Evidence in the reader's language, and whether all of it is: a part that is not known stays as it is.

    >>> from cxstream.console.language import language
    >>> read(language("pl"), "NPS answer 3, today")[1]
    True
    """
    if words.code == DEFAULT or not text:
        return text, words.code == DEFAULT
    parts, known = [], True
    for part in _PART.findall(text):
        found = _part(words, part.strip())
        known = known and found is not None
        parts.append(part.strip() if found is None else found)
    return ", ".join(parts), known


def _part(words: Language, part: str) -> str | None:
    whole = _known(words, part)
    if whole is not None:
        return whole
    if span := _SPAN.match(part):
        base = _known(words, span[1]) or (span[1] if _OWN.fullmatch(span[1]) else None)
        if base is not None:
            when = (
                words.gettext("today")
                if span[2]
                else words.ngettext("in {n} day", "in {n} days", int(span[3]))
            )
            return f"{base} {when}"
    # How often, and the name of a kind of the company's own.
    return part if _OWN.fullmatch(part) else None


def _known(words: Language, part: str) -> str | None:
    for pattern, reading in _COMPILED:
        if found := pattern.fullmatch(part):
            return reading(words, found)
    return None


def shown(words: Language, text: str, day: date | None = None) -> Markup:
    """Evidence for a page; marked as English where it is not all in the reader's language.

    Args:
        words: of the reader.
        text: the evidence.
        day: of the signal, if that is not the last day of the data: words such as "since today" mean it.
    """
    said, is_known = read(words, text)
    if day is not None and _RELATIVE.search(text):
        as_of = words.gettext("as of %(day)s") % {"day": words.day(day)}
        said += f" ({as_of})"
    return Markup("{}").format(said) if is_known else Markup('<span lang="en">{}</span>').format(said)
