"""What of a text its author said about the company: without quoted messages, links and names of accounts."""

from __future__ import annotations

import re
import unicodedata

# In place of a link or a name: words keep their distance, and no lexicon has it.
_NOTHING = "@"
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_ACCOUNT = re.compile(r"(?<![\w@])@\w+")
_HASHTAG = re.compile(r"#(?=\w)(\w+)")
_HUMP = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z][^\W\d_])|_")
# The line before what mail programs repeat of the message that is answered.
_QUOTED = re.compile(
    r"^[ \t]*(?:-{2,} ?(?:original message|wiadomość oryginalna|oryginalna wiadomość|forwarded message)\b"
    r"|on .{1,200} wrote:[ \t]*$"
    r"|(?:w dniu|dnia|\w{2,4}\.?,) .{1,200}(?:napisał\(a\)|napisał|napisała|pisze):?[ \t]*$)",
    re.IGNORECASE | re.MULTILINE,
)


def cleaned(text: str) -> str:
    """The text without what others said in it: what a customer quotes of an agent's message does not count."""
    if "\n" in text or ">" in text[:2]:
        text = _own(text)
    if "@" in text:
        text = _ACCOUNT.sub(_NOTHING, text)
    if "://" in text or "www." in text or "WWW." in text:
        text = _LINK.sub(_NOTHING, text)
    if "#" in text:
        text = _HASHTAG.sub(lambda found: _HUMP.sub(" ", found[1]), text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text


def _own(text: str) -> str:
    """The lines that are not quoted."""
    if quoted := _QUOTED.search(text):
        text = text[: quoted.start()]
    lines = text.split("\n")
    if any(line.lstrip().startswith(">") for line in lines):
        lines = [line for line in lines if not line.lstrip().startswith(">")]
    return "\n".join(lines)
