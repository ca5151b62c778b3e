"""How good the sentiment of texts is, and how fast, on labelled data in ../shared/data.

python benchmarks/sentiment.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from cxstream.model.text import MODEL, TEXT_LANGUAGES
from cxstream.text.model import TextModel
from cxstream.text.vader import Vader
from cxstream.text.weights import load
from text_model import reviews

ENGLISH = ("tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")
CLASSES = ("negative", "neutral", "positive")
# A mean human valence within half a point of 0, of 4, is neutral, and a sentiment within .05, as VADER's authors have it.
HUMAN, MACHINE = 0.5, 0.05


def classes(values, limit):
    return np.where(values > limit, 2, np.where(values < -limit, 0, 1))


def show(name, truth, found, human, middle):
    """A table of what was and what was found; no sentiment counts as neutral."""
    scores = np.array([0.0 if each is None else each for each in found])
    true, said = classes(truth, human), classes(scores, middle)
    f1 = f1_score(true, said, average="macro", labels=[0, 1, 2], zero_division=0)
    print(
        f"\n{name}: {len(found):,} texts, {sum(each is None for each in found) / len(found):.1%} without a sentiment, "
        f"Pearson r {np.corrcoef(scores, truth)[0, 1]:.3f}, macro-F1 {f1:.3f}"
    )
    print(f"  {'is / said':>12} {CLASSES[0]:>9} {CLASSES[1]:>9} {CLASSES[2]:>9}")
    for label, row in zip(CLASSES, confusion_matrix(true, said, labels=[0, 1, 2]), strict=True):
        print(f"  {label:>12} {row[0]:>9,} {row[1]:>9,} {row[2]:>9,}")


def speed(model, texts):
    """Texts a second of processor time, the best of five."""
    best = min(_seconds(model, texts) for _ in range(5))
    return len(texts) / best


def _seconds(model, texts):
    begin = time.process_time()
    model.sentiments(texts)
    return time.process_time() - begin


def main() -> None:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=here.parent / "shared/data", help="Folder of the data.")
    data = parser.parse_args().data
    model, vader = TextModel(MODEL, TEXT_LANGUAGES), Vader(load(MODEL).english)
    print(f"model {MODEL}, digest {model.digest}")
    texts = {}
    for name in ENGLISH:
        path = data / f"sentiment_en_vader_icwsm2014/hutto_ICWSM_2014/{name}_GroundTruth.txt"
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line.strip()]
        truth, texts[name] = np.array([float(row[1]) for row in rows]), [row[2].strip() for row in rows]
        show(f"English, {name}", truth, model.sentiments(texts[name]), HUMAN, MACHINE)
        alone = np.array([vader.find(text).score for text in texts[name]])
        told = model.sentiments(texts[name], ["en"] * len(rows))
        said = np.array([0.0 if each is None else each for each in told])
        print(
            f"  Pearson r where the source says the language: {np.corrcoef(said, truth)[0, 1]:.3f}; "
            f"of VADER alone: {np.corrcoef(alone, truth)[0, 1]:.3f}"
        )
        print(f"  languages: {dict(Counter(model.languages(texts[name])).most_common(4))}")
    rows = reviews(data / "sentiment_pl_allegro/dev.tsv")
    truth, texts["allegro"] = np.array([stars - 3 for _, stars in rows]), [text for text, _ in rows]
    found = model.sentiments(texts["allegro"])
    show("Polish, Allegro dev", truth, found, HUMAN, MACHINE)
    scores, sure = np.array([each or 0.0 for each in found]), truth != 0
    print(f"  AUC, 4 and 5 stars from 1 and 2: {roc_auc_score(truth[sure] > 0, scores[sure]):.3f}")
    print(f"  languages: {dict(Counter(model.languages(texts['allegro'])).most_common(4))}")
    texts["first sentences of Allegro"] = [text.split(".")[0][:160] for text in texts["allegro"]]
    print("\ntexts a second of processor time:")
    for name, some in texts.items():
        print(
            f"  {name}: {speed(model, some):,.0f} (of {np.mean([len(text) for text in some]):.0f} characters)"
        )


if __name__ == "__main__":
    main()
