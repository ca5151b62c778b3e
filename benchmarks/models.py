"""What trained rules cost: events a second of processor time with plain rules and with models, in turn in one process; medians.

    python benchmarks/models.py touchpoints.ndjson [--runs 5] [--texts 0.05] [--rules rules.toml]

A part of the events is given a text without a sentiment; of those, half repeat a few short texts, as answers do.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.model.experiments import Experiment
from cxstream.model.parameters import PurchaseModel, ScoringParams, TextModelParams, ValueModel
from cxstream.model.text import DIGESTS, MODEL
from cxstream.rules.file import read_file
from cxstream.scoring.engine import Engine, Records, compile_kernels
from cxstream.settings import ACTIONS
from cxstream.worker.ownership.scored_rows import ScoredRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BATCH, _EVENTS, _WORDS = 1900, 60_000, 10
_PLAIN = Path(__file__).resolve().parent.parent / "examples/default-1.toml"
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


class _Appended(NamedTuple):
    """What cx.scored takes of a record."""

    timestamp: int
    offset: int = 0


def run(lines: Sequence[bytes], params: ScoringParams) -> tuple[float, float]:
    """Events a second of processor time: to read and to score, and the same with the values of cx.scored."""
    engine, rows, scoring = Engine(params, ACTIONS), ScoredRows(), 0.0
    engine.scored = True
    begin = time.process_time()
    for start in range(0, len(lines), _BATCH):
        part = lines[start : start + _BATCH]
        before = time.process_time()
        found = engine.process(Records(part, range(start, start + len(part)))).scored
        scoring += time.process_time() - before
        if found is not None:
            rows.add(found, [_Appended(0)] * len(part))
            rows.catch_up()
    rows.close()
    return len(lines) / scoring, len(lines) / (time.process_time() - begin)


def parameters(trained: ScoringParams) -> dict[str, ScoringParams]:
    """Plain rules, and those of a fitted churn model with one model after the other; by name."""
    plain = read_file(_PLAIN).params
    models: dict[str, Any] = {
        "purchase_model": PurchaseModel(r=0.5, alpha=3.0, a=0.8, b=2.4),
        "value_model": ValueModel(p=6.25, q=3.74, v=15.44),
        "coefficients": {**trained.coefficients, "lapse": 1.0},
    }
    experiments = {"experiments": {"retention": Experiment(holdout=0.2)}}
    texts = {"text_model": TextModelParams(name=MODEL, digest=DIGESTS[MODEL])}
    return {
        "plain rules": plain,
        "trained churn model": trained,
        "... with purchases and value": trained.model_copy(update=models),
        "... with an experiment": trained.model_copy(update=models | experiments),
        "... with texts: all": trained.model_copy(update=models | experiments | texts),
    }


def changed(runs: Sequence[tuple[float, float]], plain: Sequence[tuple[float, float]], which: int) -> str:
    """The median of a rate, and how far it is from that of plain rules: median and range of the rounds, and best from best.

    Other programs on the machine take from each of them; the best of many rounds has the least of that.
    """
    changes = sorted(a[which] / b[which] - 1 for a, b in zip(runs, plain, strict=True))
    rate = median(each[which] for each in runs)
    best = max(each[which] for each in runs) / max(each[which] for each in plain) - 1
    return f"{rate:9,.0f} ({median(changes):+.1%}, {changes[0]:+.1%} to {changes[-1]:+.1%}; best {best:+.1%})"


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
    parser.add_argument(
        "--rules",
        type=Path,
        help="rules of a churn model; default: the default rules, which are fitted to simulated customers",
    )
    args = parser.parse_args()
    lines = list(with_texts(args.file.read_bytes().splitlines()[:_EVENTS], args.texts, args.repeated))
    sets = parameters(read_file(args.rules).params if args.rules else ScoringParams())
    compile_kernels()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sets}
    for params in sets.values():
        run(lines, params)
    for i in range(args.runs):
        # Back and forth, so that a machine that grows slower does not look like a model.
        for name in list(sets)[:: 1 if i % 2 else -1]:
            found[name].append(run(lines, sets[name]))
    plain = found[next(iter(sets))]
    print("events a second of processor time: read and scored, and with the values of cx.scored")
    for name, runs in found.items():
        print(f"{name:30}", *(changed(runs, plain, which) for which in (0, 1)))


if __name__ == "__main__":
    main()
