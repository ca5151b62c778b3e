"""The statistics of experiments: A/A rejects as often as stated, planted effects are found, references agree."""

from __future__ import annotations

import json
import math
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

import trials
import trials_references as references
from cxstream.trials import statistics as s

SEED = 20261129


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(SEED)
    y, treated = rng.gamma(0.5, 3, 500), rng.random(500) < 0.7
    found = s.difference(y, treated)
    theirs = stats.ttest_ind(y[treated], y[~treated], equal_var=False)
    ends = theirs.confidence_interval(0.95)
    assert found is not None
    assert (found.p, found.low, found.high) == pytest.approx((theirs.pvalue, ends.low, ends.high), rel=1e-9)


@given(st.integers(0, 2000), st.integers(0, 2000), st.floats(0.05, 0.9))
@settings(max_examples=50)
def test_the_ratio_test_is_that_of_the_normal_distribution(treated: int, holdout: int, share: float) -> None:
    total = treated + holdout
    found = s.ratio_p(treated, holdout, share)
    if total == 0:
        assert found == 1
        return
    z = (holdout - total * share) / math.sqrt(total * share * (1 - share))
    assert found == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), rel=1e-6, abs=1e-12)


def test_figures_are_those_of_statsmodels_and_tea_tasting() -> None:
    """Their figures, as `trials_references.py` wrote them."""
    theirs = json.loads(references.FILE.read_text())
    y, before, treated = references.customers()

    def named(found: s.Estimate | None) -> dict[str, float]:
        return msgspec.structs.asdict(found) if found else {}

    cuped = named(s.difference(s.adjusted(y, before), treated))
    assert named(s.difference(y, treated)) == pytest.approx(theirs["plain"], rel=1e-9)
    assert cuped == pytest.approx(theirs["cuped"], rel=1e-9)
    assert {name: cuped[name] for name in theirs["tea_cuped"]} == pytest.approx(theirs["tea_cuped"], rel=1e-9)
    held = references.HOLDOUT
    assert s.ratio_p(references.CUSTOMERS - held, held, references.SHARE) == pytest.approx(
        theirs["tea_ratio_p"], rel=1e-9
    )
    # They count also those that are significant the wrong way.
    size = s.detectable(1.0, references.CUSTOMERS - held, held, references.POWER)
    assert size == pytest.approx(theirs["detectable_size"], rel=1e-4)


def test_differences_in_differences_are_those_of_regressions_with_robust_errors() -> None:
    theirs, (changed, control, after) = json.loads(references.FILE.read_text()), references.days()
    found = s.in_differences(changed, control, after)
    assert found is not None
    estimate = found.estimate
    assert (estimate.difference, estimate.error) == pytest.approx(
        (theirs["blocks"]["difference"], theirs["blocks"]["error"]), rel=1e-9
    )
    # Errors by clusters divide by the number of blocks, not by one less.
    few = references.DAYS // references.BLOCK // 2
    assert (estimate.difference, estimate.error * math.sqrt((few - 1) / few)) == pytest.approx(
        (theirs["clusters"]["difference"], theirs["clusters"]["error"]), rel=1e-9
    )
    slope = theirs["slope"]
    assert (found.slope, found.slope_p, found.slope_low, found.slope_high) == pytest.approx(
        (slope["slope"], slope["p"], slope["low"], slope["high"]), rel=1e-9
    )


def test_a_a_rejects_at_five_per_cent() -> None:
    """6,000 experiments of 200 customers without an effect: 5% +- 1 are significant, with CUPED and without."""
    found = trials.aa(6000, SEED)
    assert all(0.04 < each < 0.06 for each in found), found


def test_planted_effects_are_found_at_the_stated_power() -> None:
    """The least detectable effect is found in 80% +- 4 of 1,000 experiments, and CUPED finds a smaller one."""
    n, share = 1000, 0.3
    effect = s.detectable(1.0, n * (1 - share), n * share)
    assert s.needed(1.0, effect, share) == pytest.approx(n)
    cuped, plain = trials.power(1000, SEED, n, share)
    assert 0.76 < cuped < 0.84
    assert plain < 0.5


def test_the_printed_figures_have_their_spread() -> None:
    """Each line that `benchmarks/trials.py` prints, of few runs."""
    head, *rest = trials.lines(8)
    assert head.endswith("runs shares")
    assert len(rest) == 16
    for line in rest:
        shares = re.findall(r"([\d.]+)% \+- ([\d.]+)%", line)
        runs = int(re.findall(r" (\d+) ", line)[-1])
        assert shares, line
        for share, spread in shares:
            p = round(float(share) / 100 * runs) / runs
            assert float(spread) == pytest.approx(196 * math.sqrt(p * (1 - p) / runs), abs=0.06), line


def test_the_bootstrap_covers_the_mean_of_skewed_spend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-normal spend with a third of zeros: intervals hold the true difference as often as is said, with few customers."""
    rng = np.random.default_rng(SEED)
    hits, percentiles, runs = 0, 0, 250
    monkeypatch.setattr(s, "RESAMPLES", 400)
    for seed in range(runs):
        y = np.where(rng.random(400) < 0.33, 0, rng.lognormal(3, 1.5, 400))
        treated = np.arange(400) < 280
        ends = s.bootstrap(y, treated, seed)
        assert ends is not None
        hits += ends[0] <= 0 <= ends[1]
        low, high = np.quantile(
            np.subtract(
                *(
                    part[rng.integers(0, len(part), (300, len(part)))].mean(1)
                    for part in (y[treated], y[~treated])
                )
            ),
            [0.025, 0.975],
        )
        percentiles += low <= 0 <= high
    assert 0.91 <= hits / runs <= 0.98, hits
    assert hits > percentiles + 0.01 * runs, percentiles


def test_the_bootstrap_is_the_same_for_the_same_seed_and_near_welch_for_many() -> None:
    rng = np.random.default_rng(SEED)
    y, treated = rng.exponential(10, 6000), np.arange(6000) % 3 > 0
    ends, welch = s.bootstrap(y, treated, 7), s.difference(y, treated)
    assert ends is not None
    assert welch is not None
    assert ends == s.bootstrap(y, treated, 7)
    assert ends == pytest.approx((welch.low, welch.high), abs=0.15 * (welch.high - welch.low))


def test_whoever_peeks_all_the_time_is_wrong_in_five_per_cent_at_most() -> None:
    """500 A/A experiments with a look after each 20 of 2,000 customers: the sequence errs rarely, the t test often."""
    rng = np.random.default_rng(SEED)
    n, runs = 2000, 500
    looks = np.arange(100, n + 1, 20)
    treated = np.arange(n) % 2 == 0
    y = rng.normal(size=(runs, n))
    sums, squares = (np.cumsum(np.where(treated, v, 0), axis=1)[:, looks - 1] for v in (y, y * y))
    other, others = (np.cumsum(np.where(treated, 0, v), axis=1)[:, looks - 1] for v in (y, y * y))
    half = looks / 2
    gap = sums / half - other / half
    error = np.sqrt((squares / half - (sums / half) ** 2 + others / half - (other / half) ** 2) / half)
    widths = np.array([s.anytime(s.Estimate(0, 0, 0, 1, 1.0), int(look))[1] for look in looks])
    sequence = (np.abs(gap) > widths * error).any(axis=1).mean()
    naive = (np.abs(gap) > 1.96 * error).any(axis=1).mean()
    assert sequence <= 0.05
    assert naive > 0.2


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 1)), min_size=1, max_size=60))
def test_deciles_and_qini_are_what_a_loop_finds(people: list[tuple[float, bool, int]]) -> None:
    score = np.array([each[0] for each in people])
    treated = np.array([each[1] for each in people])
    y = np.array([each[2] for each in people], dtype=float)
    ranked = sorted(people, key=lambda each: -each[0])
    found = s.qini(y, treated, score, points=len(people))
    gains = [0.0]
    for i in range(1, len(people) + 1):
        a = [p[2] for p in ranked[:i] if p[1]]
        b = [p[2] for p in ranked[:i] if not p[1]]
        gains.append((sum(a) / len(a) - sum(b) / len(b)) * i / len(people) if a and b else 0.0)
    assert found.gain == pytest.approx(gains)
    tenths = s.deciles(y, treated, score)
    assert sum(each.treated + each.holdout for each in tenths) == len(people)
    assert sum(each.treated for each in tenths) == treated.sum()


def test_qini_finds_a_score_that_knows_whom_to_treat() -> None:
    rng = np.random.default_rng(SEED)
    score, treated = rng.random(20_000), rng.random(20_000) < 0.5
    y = (rng.random(20_000) < 0.5 + 0.4 * treated * (score > 0.8)).astype(float)
    assert s.qini(y, treated, score).area > 0.02
    assert abs(s.qini(y, treated, rng.random(20_000)).area) < 0.01
    tenths = s.deciles(y, treated, score)
    assert all(d.estimate is not None for d in tenths)
    assert [d.estimate.difference > 0.3 for d in tenths if d.estimate] == [True] * 2 + [False] * 8


def test_nothing_is_estimated_of_an_arm_of_one() -> None:
    y, treated = np.arange(5.0), np.array([True, True, True, True, False])
    assert s.difference(y, treated) is None
    assert s.bootstrap(y, treated) is None
    assert s.detectable(1.0, 10, 0) == math.inf
    same = s.difference(np.zeros(6), np.arange(6) < 3)
    assert same == s.Estimate(0, 0, 0, 1, 0)


def test_a_difference_in_differences_finds_the_change_and_sees_unlike_trends() -> None:
    rng = np.random.default_rng(SEED)
    after = np.arange(56) >= 28
    season = 10 + 3 * np.sin(np.arange(56) / 3)
    changed = season + rng.normal(0, 0.3, 56) - 1.5 * after
    control = season + rng.normal(0, 0.3, 56)
    found = s.in_differences(changed, control, after)
    assert found is not None
    assert found.estimate.low < -1.5 < found.estimate.high < -1
    assert found.slope_p > 0.05
    # A change that was only pretended, halfway through the time before: the same test of the same days.
    halfway = s.in_differences(changed[:28], control[:28], np.arange(28) >= 14)
    assert halfway is not None
    assert found.placebo == halfway.estimate
    assert found.placebo.p > 0.05
    sooner = s.in_differences(changed - 3 * (np.arange(56) >= 14), control, after)
    assert sooner is not None
    assert sooner.placebo is not None
    assert sooner.placebo.p < 0.001
    apart = s.in_differences(changed + 0.1 * np.arange(56), control, after)
    assert apart is not None
    assert apart.slope_p < 0.02
    assert apart.slope_low < 0.1 < apart.slope_high
    assert s.in_differences(changed[:30], control[:30], after[:30]) is None


def test_a_a_changes_are_significant_in_five_per_cent_though_days_depend_on_each_other() -> None:
    """Weeks are the unit, or two of them; by days, half as many again as by chance would be significant."""
    rng = np.random.default_rng(SEED)
    for days, size in ((28, 7), (56, 14)):
        hits, plain, sloping, runs, after = 0, 0, 0, 400, np.arange(2 * days) >= days
        gaps = signal.lfilter([1], [1, -0.4], rng.normal(size=(runs, 2 * days + 30)), axis=1)[:, 30:]
        for run, gap in enumerate(gaps):
            found = s.in_differences(gap, np.zeros(2 * days), after)
            assert found is not None
            hits += found.estimate.p < 0.05
            sloping += found.slope_p < 0.05
            a, b = gap[after], gap[~after]
            plain += stats.ttest_ind(a, b).pvalue < 0.05
            if run == 0:
                blocks = [part.reshape(-1, size).mean(1) for part in (a, b)]
                theirs = stats.ttest_ind(*blocks, equal_var=False)
                assert found.estimate.p == pytest.approx(theirs.pvalue)
                assert found.estimate.difference == pytest.approx(a.mean() - b.mean())
        assert 0.02 < hits / runs < 0.08, (days, hits)
        assert 0.02 < sloping / runs < 0.1, (days, sloping)
        assert plain / runs > 0.11, (days, plain)
    # Few days are three blocks.
    few = s.in_differences(np.arange(10.0), np.zeros(10), np.arange(10) >= 5)
    assert few is not None
    assert few.estimate.difference == pytest.approx(np.mean([5.5, 7.5, 9]) - np.mean([0.5, 2.5, 4]))


def test_the_slope_before_a_change_is_that_of_the_means_of_blocks() -> None:
    """By the normal equations: weeks, of a rhythm that would hide it by days."""
    days = np.arange(35.0)
    before = 0.02 * days + np.tile([3.0, 0, 0, 0, -1, -1, -1], 5) + np.repeat([0.1, -0.2, 0, 0.3, -0.2], 7)
    found = s.in_differences(np.concatenate([before, np.zeros(35)]), np.zeros(70), np.arange(70) >= 35)
    assert found is not None
    x, y = (each.reshape(5, 7).mean(1) for each in (days, before))
    away = x - x.mean()
    slope = away @ y / (away @ away)
    residual = y - y.mean() - slope * away
    error = math.sqrt(residual @ residual / 3 / (away @ away))
    assert found.slope == pytest.approx(slope)
    assert found.slope_p == pytest.approx(2 * stats.t.sf(abs(slope) / error, 3))
    ends = stats.t.interval(0.95, 3, loc=slope, scale=error)
    assert (found.slope_low, found.slope_high) == pytest.approx(ends)
    line = s.in_differences(np.arange(10.0), np.zeros(10), np.arange(10) >= 5)
    assert line is not None
    assert (line.slope, line.slope_p) == pytest.approx((1, 0))
    still = s.in_differences(np.zeros(6), np.zeros(6), np.arange(6) >= 3)
    assert still is not None
    assert (still.slope, still.slope_low, still.slope_high, still.slope_p) == (0, 0, 0, 1)
