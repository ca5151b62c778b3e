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
_FLOAT = re.compile(r"[0-9]+\.0+")
_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+[eE]\+?|[eE]\+)[0-9]+")


def doubt(text: str) -> tuple[str, bool]:
    """Why an id is doubtful, and whether by this very text; "" where nothing speaks against it.

    >>> doubt("12345.0")
    ('was a number in a spreadsheet or a database', False)
    >>> doubt("anna")
    ('', False)
    """
    if text.lower() in _NOBODY or (text[:1] == "0" and _ZEROS.fullmatch(text)):
        return "stands for no value", True
    if text[-1:] == "0" and _FLOAT.fullmatch(text):
        return "was a number in a spreadsheet or a database", False
    if text[:1].isdigit() and _ROUNDED.fullmatch(text):
        return "was rounded by a spreadsheet: different ids can look like it", False
    if not text.isprintable():
        return "has characters that cannot be seen", False
    return "", False
