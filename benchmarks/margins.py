"""Whether the half-widths hold the customer's next answer: coverage by how much was known of simulated customers.

    python benchmarks/margins.py --customers 8000 --days 180 --seeds 41 42 43
    python benchmarks/margins.py --seeds 41 --answer-sd 28 --effort-spread 40 --touch-weight 0.02
    python benchmarks/margins.py --seeds --olist ../shared/data/olist_sample

At weekly cutoffs, effort and satisfaction of everybody are set against the next answer that they give within a week. An interval of
95% should hold 93 to 97% of them, however many answers and touches there were before. With other parameters than the defaults it
says what these would hold. Reviews of the Olist shop are set against the satisfaction of the customer just before, from purchases,
deliveries and earlier reviews; where its files are not there, that is said and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from cxstream.model.parameters import ScoringParams

sys.path.insert(0, str(Path(__file__).parent))
from churn_features import EVERY, MOOD, WARMUP, Cut, live
from cxstream.convert import olist
from cxstream.convert.report import Report
from cxstream.model.errors import InputError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS

PARAMS = ScoringParams()
OLIST = Path(__file__).parents[2] / "shared/data/olist_sample"
ANSWERS = ((0.0, 1e-9, "none"), (1e-9, 0.5, "below 0.5"), (0.5, np.inf, "0.5 or more"))
TOUCHES = ((0, 35, "below 35"), (35, 65, "35 to 65"), (65, np.inf, "65 or more"))
FEW = 100


def half_width(params, spread, weight, touches):
    """As in docs/scoring.md."""
    total = params.prior_strength + weight
    own = params.answer_sd**2 * (1 + np.minimum(weight, weight**2) / total**2)
    implicit = (spread * params.prior_strength / total) ** 2 / (1 + params.touch_weight * touches)
    return params.z * np.sqrt(own + implicit)


def next_answers(days, name, time):
    """The first day with an answer in the week after a cutoff, and its mean value; NaN without one."""
    weights = days.of[f"{name}_n"][:, time : time + EVERY].astype(float)
    sums = days.of[f"{name}_sum"][:, time : time + EVERY]
    place = np.argmax(weights > 0, axis=1)
    here = np.arange(len(weights))
    weight = weights[here, place]
    return np.where(weight > 0, sums[here, place] / np.maximum(weight, 1e-9), np.nan)


def rows_of(days, cut, name, x):
    """Score, weight of answers, touches and next answer of those who give one."""
    weight, touches = cut.decayed(f"{name}_n"), cut.decayed("touches")
    rows = np.column_stack([100 * x, weight, touches, next_answers(days, name, cut.time)])
    return rows[np.isfinite(rows[:, 3])]


def simulated(customers, length, seed):
    days, _ = live(customers, length, seed)
    effort, satisfaction = [], []
    for time in range(WARMUP, length - EVERY + 1, EVERY):
        cut = Cut(days, time)
        x = cut.features()
        effort.append(rows_of(days, cut, "ease", x["effort"]))
        satisfaction.append(rows_of(days, cut, "sat", 1 - x["dissatisfaction"]))
    return np.concatenate(effort), np.concatenate(satisfaction)


def reviews(folder):
    """The same of each review of the Olist shop, just before it."""
    told = defaultdict(list)
    for draft in olist.drafts(folder, Report()):
        told[draft.subject].append((draft.time_ms, draft.kind, draft.data))
    rows = []
    for events in told.values():
        events.sort(key=lambda event: event[0])
        mood, weight, total, touches, before = 0.0, 0.0, 0.0, 0.0, events[0][0]
        for time, kind, data in events:
            # Panes of days and the window of 90 make little difference to such short histories.
            fades = 2.0 ** (-(time - before) / DAY_MS / PARAMS.half_life_days)
            mood, weight, total, touches, before = (
                mood * fades,
                weight * fades,
                total * fades,
                touches * fades,
                time,
            )
            if kind == "review":
                odds = np.log(PARAMS.satisfaction_prior / (1 - PARAMS.satisfaction_prior))
                implicit = 100 / (1 + np.exp(-(odds + mood / PARAMS.mood_scale)))
                answer = 25.0 * (data["rating"] - 1)
                rows.append(((implicit + total) / (1 + weight), weight, touches, answer))
                weight, total = weight + 0.5, total + 0.5 * answer
            late = data.get("late_days") or 0
            mood += MOOD[Kind[kind]]
            if kind == "delivery":
                mood += 0.5 if not late else -min(0.5 * late, 2.5)
            touches += 1
    return np.array(rows)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=8000)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--seeds", type=int, nargs="*", default=[41, 42, 43])
    parser.add_argument("--olist", type=Path, default=OLIST, help="folder of the Olist files")
    for name in ("answer_sd", "effort_spread", "satisfaction_spread", "touch_weight"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(PARAMS, name))
    return parser.parse_args()


def main() -> None:
    args = arguments()
    names = ("answer_sd", "effort_spread", "satisfaction_spread", "touch_weight")
    params = PARAMS.model_copy(update={name: getattr(args, name) for name in names})
    print(", ".join(f"{name} {getattr(params, name):g}" for name in names))
    found = [simulated(args.customers, args.days, seed) for seed in args.seeds]
    if found:
        effort, satisfaction = zip(*found, strict=True)
        report("effort", params, params.effort_spread, effort, args.seeds)
        report("satisfaction", params, params.satisfaction_spread, satisfaction, args.seeds)
    try:
        rows = reviews(args.olist)
    except InputError as error:
        print(f"\nOlist left out: {error}")
        return
    report("satisfaction, reviews of Olist", params, params.satisfaction_spread, [rows], ["all"])
    report_by_kind(params, rows)


def report(name, params, spread, parts, seeds) -> None:
    rows = np.concatenate(parts)
    run = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    score, weight, touches, answer = rows.T
    width = half_width(params, spread, weight, touches)
    held = np.abs(answer - score) <= width
    print(f"\n{name}: {len(rows):,} answers, half-width {width.mean():.0f}, {held.mean():.1%} held")
    heads = "".join(f"{f'seed {seed}' if seed != 'all' else '':>10}" for seed in seeds if len(parts) > 1)
    print(f"  {'answers before':15}{'touches':12}{'answers':>8}{'half-width':>12}{'held':>8}{heads}")
    for least, most, answers in ANSWERS:
        for low, high, count in TOUCHES:
            here = (weight >= least) & (weight < most) & (touches >= low) & (touches < high)
            shares = [share(held[here])]
            if len(parts) > 1:
                shares += [share(held[here & (run == i)]) for i in range(len(parts))]
            mean = width[here].mean() if here.any() else 0
            said = f"{shares[0]:>8}" + "".join(f"{each:>10}" for each in shares[1:])
            print(f"  {answers:15}{count:12}{int(here.sum()):8,}{mean:12.0f}{said}")


def share(held) -> str:
    return f"{held.mean():.1%}" if len(held) >= FEW else "few"


def report_by_kind(params, rows) -> None:
    """A shop has few touches: how well a score of one order foretells its review, by score."""
    score, weight, touches, answer = rows.T
    held = np.abs(answer - score) <= half_width(params, params.satisfaction_spread, weight, touches)
    edges = [*np.unique(np.quantile(score, (0, 0.02, 0.05, 0.1, 0.5, 0.9))), np.inf]
    print(f"  {'satisfaction':27}{'answers':>8}{'their mean':>12}{'held':>8}")
    for low, high in pairwise(edges):
        here = (score >= low) & (score < high)
        mean = answer[here].mean() if here.any() else 0
        said = f"from {low:.0f} up" if high == np.inf else f"{low:.0f} to {high:.0f}"
        print(f"  {said:27}{int(here.sum()):8,}{mean:12.0f}{share(held[here]):>8}")


if __name__ == "__main__":
    main()
