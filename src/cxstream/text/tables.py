"""What the kernel of texts reads by, as arrays, made of the weights of a model."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels import characters as signs
from cxstream.kernels import vader
from cxstream.kernels.sentiment import LONGEST_SIGN
from cxstream.kernels.words import Words, word_place
from cxstream.text.columns import column
from cxstream.text.polish import BEGIN, EMOJI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Numbers of this size and more, up to a thousand of them, have sums that two of their kind can hold.
_FINEST = 1e-6
# Makes an emoji of the sign before it.
_AS_EMOJI = "\ufe0f"
# Words of VADER's rules, and what they are called in the kernel.
_RULES = {
    "no": vader.NO, "never": vader.NEVER, "so": vader.SO, "this": vader.SO, "without": vader.WITHOUT,
    "doubt": vader.DOUBT, "least": vader.LEAST, "at": vader.AT, "very": vader.AT, "or": vader.OR, "nor": vader.OR,
    "kind": vader.KIND, "of": vader.OF, "but": vader.BUT,
}  # fmt: skip
# Letters and signs that texts are full of: alphabets of Europe, then what joins emoji, punctuation, and money.
_RANGES = (range(0x590), range(0x200D, 0x200E), range(0x2010, 0x2028), range(0x20A0, 0x20C0))


def characters(doubtful: Iterable[str]) -> signs.Characters:
    """What is known of characters.

    Args:
        doubtful: characters that mean more than themselves, such as emoji.
    """
    lower, marks = np.zeros(signs.CODES, np.uint16), np.zeros(signs.CODES, np.uint8)
    others = set(doubtful)
    for code in (code for some in _RANGES for code in some):
        sign = chr(code)
        if sign not in others and _is_plain(sign):
            lower[code], marks[code] = ord(sign.lower()), signs.KNOWN | _marks(sign)
    return signs.Characters(lower, marks)


def _is_plain(sign: str) -> bool:
    """Whether nothing around a character changes it, nor what it is in lower case.

    A capital sigma is another small one at the end of a word; what goes onto the letter before it makes one with that.
    """
    small = sign.lower()
    return (
        unicodedata.category(sign) not in {"Cn", "Mn", "Mc", "Me", "Lt"}
        and unicodedata.is_normalized("NFC", sign)
        and sign != "Σ"
        and len(small) == 1
        and len(small.encode()) == len(sign.encode())
    )


def _marks(sign: str) -> int:
    return (
        signs.UPPER * sign.isupper()
        | signs.LOWER * sign.islower()
        | signs.SPACE * sign.isspace()
        | signs.WORD * sign.isalnum()
    )


def emoji(known: signs.Characters, descriptions: Mapping[str, str], odds: Mapping[str, float]) -> signs.Emoji:
    """The table of emoji.

    Args:
        known: the characters that are known.
        descriptions: words by emoji, as VADER has them.
        odds: log-odds of each emoji and emoticon.
    """
    some = sorted(sign for sign in {*descriptions, *odds, _AS_EMOJI} if len(sign) == 1)
    low, marks, ends, values = bytearray(), bytearray(), [0], {}
    for sign in filter(_is_alone, some):
        said = descriptions.get(sign, "")
        if any(ord(each) >= signs.CODES or not known.marks[ord(each)] for each in said):
            continue
        for each in said:
            parts, mark = chr(known.lower[ord(each)]).encode(), int(known.marks[ord(each)])
            low += parts
            marks += bytes([mark] + [signs.CONTINUED | mark & signs.SPACE] * (len(parts) - 1))
        ends.append(len(low))
        values[sign] = odds.get(sign, np.nan) if EMOJI.match(sign) else np.nan
    return signs.Emoji(
        words(values, lambda _: 0),
        np.frombuffer(bytes(low), np.uint8),
        np.frombuffer(bytes(marks), np.uint8),
        np.array(ends, np.int32),
    )


def _is_alone(sign: str) -> bool:
    """Whether a sign has no case, is no letter, and nothing around it changes it."""
    return (
        not (sign.isalnum() or sign.isspace() or sign.isupper() or sign.islower() or sign.istitle())
        and sign.lower() == sign
        and unicodedata.is_normalized("NFC", sign)
        and not unicodedata.combining(sign)
    )


def words(values: Mapping[str, float], flags: Callable[[str], int]) -> Words:
    """A table of words.

    Args:
        values: by word.
        flags: of a word.
    """
    named = list(values)
    text, ends = column(named)
    table = np.full(1 << (2 * len(named)).bit_length(), -1, np.int32)
    begin = 0
    for i, end in enumerate(ends.tolist()):
        place = word_place(text, begin, end, len(table))
        while table[place] >= 0:
            place = (place + 1) % len(table)
        table[place], begin = i, end
    bounds = np.concatenate([[0], ends]).astype(np.int32)
    own = np.fromiter(map(flags, named), np.int32, len(named))
    return Words(text, bounds, table, np.fromiter(values.values(), np.float64, len(named)), own)


def english(data: Mapping[str, Any]) -> tuple[Words, vader.Phrases]:
    """The tables of VADER.

    Args:
        data: see `cxstream.text.vader.Vader`.
    """
    lexicon, boosters, negations = data["lexicon"], data["boosters"], frozenset(data["negations"])
    said = [phrase for phrase in (*boosters, *data["idioms"]) if " " in phrase]
    parts = {part for phrase in said for part in phrase.split()}
    values = dict.fromkeys((*parts, *negations, *_RULES), 0.0) | boosters | lexicon

    def flags(word: str) -> int:
        return (
            vader.LEXICON * (word in lexicon)
            | vader.COUNTS * (word in lexicon and word not in boosters)
            | vader.BOOSTS * (word in boosters)
            | vader.NEGATES * (word in negations or "n't" in word)
            | _RULES.get(word, 0)
        )

    ordered = dict(sorted(values.items()))
    numbers = {word: i + 1 for i, word in enumerate(ordered)}
    keys = []
    for phrase in said:
        key = 0
        for part in phrase.split():
            key = key << vader.ID_BITS | numbers[part]
        keys.append(key)
    idioms = [float(data["idioms"].get(phrase, np.nan)) for phrase in said]
    boosts = [float(boosters.get(phrase, 0.0)) for phrase in said]
    phrases = vader.Phrases(np.array(keys, np.int64), np.array(idioms), np.array(boosts))
    return words(ordered, flags), phrases


def emoticons(signs: Mapping[str, float]) -> Words:
    """The table of emoticons.

    Args:
        signs: log-odds of each emoji and emoticon.
    """
    some = {sign: signs[sign] for sign in sorted(filter(BEGIN.match, signs))}
    if max(len(sign.encode()) for sign in some) > LONGEST_SIGN:
        raise ValueError("an emoticon is longer than the kernel reads")
    if any(0 < abs(value) < _FINEST for value in signs.values()):
        raise ValueError("odds are finer than the kernel adds them without rounding")
    return words(some, lambda _: 0)
