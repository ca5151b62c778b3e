"""Texts that stand for no value, and ids that look as if they stood for nobody in particular."""

from __future__ import annotations

import re

_NOTHING = r"""
    N/A n/a #N/A #N/A! NULL null Null (null) <null> [NULL] <NA> #NULL! \N NIL nil None none (none) undefined
    (blank) (empty) - -- ---
"""
NOTHING = frozenset(_NOTHING.split())
"""What optional values count as empty where the mapping says nothing of it."""

LEFT_OUT = "values such as N/A or NULL that stand for nothing: taken as empty"

_NOBODY_IN_WORDS = """
    nan -nan na n.a. n.a unknown anonymous guest test missing nobody not-set true false -1
    #ref! #value! #name? #div/0! (not|set) not|set not|available [object|object]
"""
_NOBODY = frozenset(text.lower() for text in NOTHING) | frozenset(
    text.replace("|", " ") for text in _NOBODY_IN_WORDS.split()
)
_ZEROS = re.compile(r"0+(?:-0+)*")
_DOUBTS = tuple(
    (re.compile(pattern), why, by_itself)
    for pattern, why, by_itself in (
        (r"[0-9]+\.0+", "was a number in a spreadsheet or a database", False),
        (
            r"[0-9](?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]+",
            "was rounded by a spreadsheet: different ids can look like it",
            False,
        ),
        (r"=.*|'[0-9]+", "is a formula or text of a spreadsheet; the id is what stands within", False),
        # {{user.id}}, ${userId}, {user_id}, [id], %USER_ID%, <user id>; also {} and []. A GUID in braces is an id.
        (
            r"\{\{.*\}\}|\$\{.*\}|\{[A-Za-z_. ]*\}|\[[A-Za-z_. ]*\]|%[A-Za-z_.]+%|<[A-Za-z_. ]+>",
            "is a template that was not filled in",
            True,
        ),
        ("[ \t\u00ad\u200b-\u200d\u2060\ufeff]+", "stands for no value", True),
    )
)
"""Patterns of ids, why they are doubtful, and whether by this very text."""


def doubt(text: str) -> tuple[str, bool]:
    """Why an id is doubtful, and whether by this very text; "" where nothing speaks against it.

    >>> doubt("12345.0")
    ('was a number in a spreadsheet or a database', False)
    >>> doubt("anna")
    ('', False)
    """
    if text.lower() in _NOBODY or (text[:1] == "0" and _ZEROS.fullmatch(text)):
        return "stands for no value", True
    if text.isalnum():
        return "", False
    for pattern, why, by_itself in () if text[:1].isalpha() else _DOUBTS:
        if pattern.fullmatch(text):
            return why, by_itself
    if not text.isprintable():
        return "has characters that cannot be seen", False
    return "", False
