"""Makes the weights of the text model from the data in ../shared/data, py3langid and vaderSentiment.

    python benchmarks/text_model.py --data ../shared/data --out src/cxstream/text/weights/en-pl-1.npz

The same data and versions give the same weights. Released weights never change: results follow from them, so
new ones get a new name. Sources and licences: src/cxstream/text/weights/NOTICE.txt.
"""

from __future__ import annotations

import argparse
import csv
import string
from collections import Counter, deque
from pathlib import Path

import msgspec
import numpy as np
from scipy.sparse import csr_matrix, diags, vstack
from sklearn.linear_model import LogisticRegression

from cxstream.kernels.ngrams import MAX_WORD, features
from cxstream.text.cleaning import cleaned
from cxstream.text.polish import KNOWN
from cxstream.text.weights import digest_of

# Of Europe: a text in another one should not be taken for English or Polish.
LANGUAGES = (
    *(
        "en",
        "pl",
        "cs",
        "sk",
        "de",
        "nl",
        "fr",
        "es",
        "it",
        "pt",
        "ro",
        "hu",
        "hr",
        "lt",
        "lv",
        "et",
        "fi",
        "sv",
        "da",
        "no",
    ),
    *("tr", "uk", "ru"),
)
NGRAMS = 24_000
BUCKETS = 1 << 20
MIN_DOCUMENTS = 5
LEXICON_WEIGHT = 0.15
MIDDLE_WEIGHT = 0.5
C = 3.0
# What a sign that everybody uses gladly is worth, in log-odds.
SIGN = 2.5
MIN_SIGNS = 20


def quantised(values):
    step = float(np.abs(values).max()) / 127
    return np.round(values / step).astype(np.int8), step


# --- language


def ngrams_of(identifier):
    """The n-gram of each feature: the shortest way to a state that has it."""
    moves, rows, output = (
        identifier.tk_nextmove,
        [row << 8 for row in identifier.tk_row],
        identifier.tk_output,
    )
    path, queue, found = {0: b""}, deque([0]), {}
    while queue:
        state = queue.popleft()
        if output[state] >= 0:
            found.setdefault(int(output[state]), path[state])
        for byte, following in enumerate(moves[rows[state] : rows[state] + 256].tolist()):
            if following not in path:
                path[following] = path[state] + bytes([byte])
                queue.append(following)
    return found


def language_weights():
    from py3langid.langid import _get_identifier

    identifier = _get_identifier()
    columns = [identifier.nb_classes.index(name) for name in LANGUAGES]
    table = np.asarray(identifier.nb_ptc[:, columns], np.float64)
    # What is common to all languages decides nothing.
    table -= table.mean(axis=1, keepdims=True)
    ngrams = ngrams_of(identifier)
    worth = table.max(axis=1) * (
        np.exp(np.asarray(identifier.nb_ptc[:, columns], np.float64)).max(axis=1) ** 0.5
    )
    best = np.argsort(-worth, kind="stable")[:NGRAMS]
    keys = np.array(
        [int.from_bytes(ngrams[int(i)], "big") | len(ngrams[int(i)]) << 56 for i in best], np.uint64
    )
    order = np.argsort(keys)
    weights, step = quantised(table[best[order]])
    return keys[order], weights, step, np.asarray(identifier.nb_pc, np.float64)[columns]


# --- English


def english():
    from vaderSentiment import vaderSentiment as reference  # noqa: N813

    analyzer = reference.SentimentIntensityAnalyzer()
    return {
        "lexicon": analyzer.lexicon,
        "boosters": reference.BOOSTER_DICT,
        "idioms": reference.SPECIAL_CASES,
        "negations": reference.NEGATE,
        "emojis": analyzer.emojis,
    }


# --- Polish


def reviews(path: Path):
    rows = []
    for line in path.read_text("utf-8").split("\n")[1:]:
        text, _, rating = line.rpartition("\t")
        if text.strip():
            rows.append((text.strip('"').replace('""', '"'), float(rating)))
    return rows


def lexicon(path: Path):
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return [(row[0], float(row[1])) for row in rows if len(row) == 2 and row[0].lower() != "nie"]


def words_of(texts):
    """Which words stand in several of the texts: uint32[n], sorted."""
    seen = Counter()
    buckets, owners = np.zeros(1 << 18, np.int32), np.zeros(1 << 18, np.int32)
    spans, word = np.zeros((1 << 14, 2), np.int32), np.zeros(MAX_WORD, np.uint8)
    for text in texts:
        raw = np.frombuffer(cleaned(text).lower().encode(), np.uint8)
        n = features(raw, 0, len(raw), KNOWN, buckets, owners, spans, word)
        seen.update(set(buckets[:n][np.diff(owners[:n], prepend=-1) > 0].tolist()))
    return np.array(sorted(word for word, count in seen.items() if count >= MIN_DOCUMENTS), np.uint32)


def matrix(texts):
    buckets, owners = np.zeros(1 << 18, np.int32), np.zeros(1 << 18, np.int32)
    spans, word = np.zeros((1 << 14, 2), np.int32), np.zeros(MAX_WORD, np.uint8)
    found = []
    for text in texts:
        raw = np.frombuffer(cleaned(text).lower().encode(), np.uint8)
        n = features(raw, 0, len(raw), BUCKETS, buckets, owners, spans, word)
        found.append(buckets[:n].copy())
    ends = np.cumsum([0, *map(len, found)])
    counts = csr_matrix((np.ones(ends[-1]), np.concatenate(found), ends), (len(found), BUCKETS))
    counts.sum_duplicates()
    return counts


def by_length(counts, kept):
    some = counts[:, kept]
    total = np.asarray(some.sum(axis=1)).ravel()
    return diags(1 / np.sqrt(np.maximum(total, 1))) @ some


def polish_weights(data: Path):
    rows = reviews(data / "sentiment_pl_allegro/train.tsv")
    words = lexicon(data / "lexicons_pl/AFINN-pl-165.txt")
    counts, stars = matrix([text for text, _ in rows]), np.array([stars for _, stars in rows])
    listed, values = matrix([word for word, _ in words]), np.array([value for _, value in words])
    documents = np.asarray((counts > 0).sum(axis=0)).ravel()
    kept = np.flatnonzero(documents >= MIN_DOCUMENTS)
    counts, listed = by_length(counts, kept), by_length(listed, kept)
    good, bad, middle = stars > 3, stars < 3, stars == 3
    # Three stars are half of each, so that 0 is neither; no constant, so that a text that says nothing is 0, too.
    rows_of = vstack([listed, counts[good], counts[bad], counts[middle], counts[middle]])
    labels = np.r_[
        values > 0, np.ones(good.sum()), np.zeros(bad.sum()), np.ones(middle.sum()), np.zeros(middle.sum())
    ]
    weights = np.r_[
        np.abs(values) / 3 * LEXICON_WEIGHT,
        np.full(good.sum(), 0.5 / good.mean()),
        np.full(bad.sum(), 0.5 / bad.mean()),
        np.full(2 * middle.sum(), MIDDLE_WEIGHT),
    ]
    model = LogisticRegression(C=C, fit_intercept=False, max_iter=400).fit(
        rows_of, labels, sample_weight=weights
    )
    small, step = quantised(model.coef_[0])
    whole = np.zeros(BUCKETS, np.int8)
    whole[kept] = small
    return whole, step, words_of([text for text, _ in rows])


def signs(data: Path, lexicon_en):
    """Log-odds of emoji, by how people judged tweets with them, and of the emoticons of VADER."""
    found = {}
    with (data / "lexicons_pl/Emoji_Sentiment_Data_v1.0.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seen, sign = int(row["Occurrences"]), row["Emoji"]
            if seen < MIN_SIGNS or not (
                ord(sign[0]) >= 0x1F000 or 0x2600 <= ord(sign[0]) <= 0x27BF or sign == "♥"
            ):
                continue
            found[sign] = round(SIGN * (int(row["Positive"]) - int(row["Negative"])) / (seen + 3), 4)
    for token, valence in lexicon_en.items():
        bare = token.strip(string.punctuation)
        if (
            len(token) >= 2
            and len(bare) <= 1
            and bare != token
            and not (bare.isdigit() and token[0].isdigit())
        ):
            found[token] = round(SIGN * valence / 3, 4)
    return dict(sorted(found.items()))


def main() -> None:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=here.parent / "shared/data", help="Folder of the data.")
    parser.add_argument("--out", type=Path, default=here / "src/cxstream/text/weights/en-pl-1.npz")
    options = parser.parse_args()
    keys, weights, step, prior = language_weights()
    words = english()
    polish, polish_step, known = polish_weights(options.data)
    said = {
        "languages": LANGUAGES,
        "language_step": step,
        "polish_step": polish_step,
        "signs": signs(options.data, words["lexicon"]),
        "english": words,
    }
    arrays = {
        "language_keys": keys,
        "language_weights": weights,
        "language_prior": prior,
        "polish_weights": polish,
        "polish_words": known,
        "said": np.frombuffer(msgspec.json.encode(said, order="deterministic"), np.uint8),
    }
    np.savez_compressed(options.out, **arrays)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, digest {digest_of(arrays)}")


if __name__ == "__main__":
    main()
