"""What the models of the rules cost: events a second of processor time with and without them, in one process; medians.

    python benchmarks/models.py touchpoints.ndjson [--runs 5] [--texts 0.05]

A part of the events is given a text without a sentiment; of those, half repeat a few short texts, as answers do.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from cxstream.model.parameters import PurchaseModel, ScoringParams, TextModelParams, ValueModel
from cxstream.model.text import DIGESTS, MODEL
from cxstream.scoring.engine import Engine, Records, compile_kernels
from cxstream.settings import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BATCH, _EVENTS, _WORDS = 1900, 60_000, 10
_ENGLISH = "parcel order late invoice happy terrible support again never great slow broken refund nice staff help price bad"
_POLISH = "paczka dotarła uszkodzona obsługa nie odpowiada bardzo dobry kontakt szybka wysyłka polecam zła reklamacja miła pani"
_POST = (
    b'{"specversion":"1.0","id":"post-%d","source":"/social","type":"cx.touchpoint.social_post.v1",%b,'
    b'"data":{"channel":"social","text":"%b"}}'
)
_SHORT = (
    "very good",
    "everything ok",
    "bardzo dobrze",
    "słaba obsługa",
    "terrible support",
    "dziękuję",
    "too slow",
)


def with_texts(lines: Sequence[bytes], share: float, repeated: float) -> Iterator[bytes]:
    """Events of which a part are social posts with a text."""
    chance = random.Random(1)
    vocabularies = [_ENGLISH.split(), _POLISH.split()]
    for line in lines:
        if (
            chance.random() >= share
            or (found := re.search(rb'"subject":"[^"]*","time":"[^"]*"', line)) is None
        ):
            yield line
            continue
        words = chance.choice(vocabularies)
        text = " ".join(chance.choice(words) for _ in range(_WORDS))
        if chance.random() < repeated:
            text = chance.choice(_SHORT)
        yield _POST % (chance.getrandbits(60), found[0], text.encode())


def run(lines: Sequence[bytes], params: ScoringParams) -> float:
    """Events a second of processor time."""
    engine = Engine(params, ACTIONS)
    engine.scored = True
    begin = time.process_time()
    for start in range(0, len(lines), _BATCH):
        part = lines[start : start + _BATCH]
        engine.process(Records(part, range(start, start + len(part))))
    return len(lines) / (time.process_time() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--texts", type=float, default=0.05, help="share of events with a text")
    parser.add_argument(
        "--repeated", type=float, default=0.5, help="share of the texts that are one of a few"
    )
    args = parser.parse_args()
    lines = list(with_texts(args.file.read_bytes().splitlines()[:_EVENTS], args.texts, args.repeated))
    plain = ScoringParams()
    models: dict[str, Any] = {
        "purchase_model": PurchaseModel(r=0.5, alpha=3.0, a=0.8, b=2.4),
        "value_model": ValueModel(p=6.25, q=3.74, v=15.44),
    }
    text = {"text_model": TextModelParams(name=MODEL, digest=DIGESTS[MODEL])}
    sets = {
        "without models": plain,
        "with purchases and value": plain.model_copy(update=models),
        "with texts": plain.model_copy(update=text),
        "with all": plain.model_copy(update=models | text),
    }
    compile_kernels()
    found: dict[str, list[float]] = {name: [] for name in sets}
    for params in sets.values():
        run(lines, params)
    for _ in range(args.runs):
        for name, params in sets.items():
            found[name].append(run(lines, params))
    without = found["without models"]
    for name, rates in found.items():
        change = median(a / b for a, b in zip(rates, without, strict=True)) - 1
        print(f"{name:25} {median(rates):9,.0f} events a second of processor time ({change:+.1%})")


if __name__ == "__main__":
    main()
