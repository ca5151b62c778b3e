"""Figures of experiments as statsmodels and tea-tasting find them, which `test_trials.py` holds ours against.

    pip install statsmodels tea-tasting
    python tests/trials_references.py --write

They are no dependency: with what they need they take up 400 MB, and these figures do not change.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("golden") / "trials.json"
CUSTOMERS, DAYS, BLOCK = 400, 56, 7
HOLDOUT, POWER, SHARE = 110, 0.8, 0.3


def customers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, the same before, and who was treated, of CUSTOMERS customers: skewed, and with an effect."""
    chance = random.Random(16)
    before = np.array([round(-math.log(1 - chance.random()) * 20, 6) for _ in range(CUSTOMERS)])
    noise = np.array([round(-math.log(1 - chance.random()) * 15, 6) for _ in range(CUSTOMERS)])
    treated = np.arange(CUSTOMERS) >= HOLDOUT
    return 0.7 * before + noise * np.where(treated, 1.3, 1.0) + 2 * treated, before, treated


def days() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A measure where a change was made, where it was not, and which days are after it."""
    chance = random.Random(17)
    noise = np.array([[round(chance.random() - 0.5, 6) for _ in range(DAYS)] for _ in range(2)])
    week = np.tile([3.0, 0, 0, 0, -1, -1, -1], DAYS // BLOCK)
    after = np.arange(DAYS) >= DAYS // 2
    return 10 + week + noise[0] - 0.4 * after, 12 + week + noise[1], after


def references() -> dict[str, Any]:
    """What the two libraries find."""
    import pyarrow as pa
    import statsmodels.api as sm
    import tea_tasting as tt
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    y, before, treated = customers()
    slope = sm.OLS(y, sm.add_constant(before)).fit().params[1]
    better = y - slope * (before - before.mean())

    def welch(values: np.ndarray) -> dict[str, float]:
        arms = CompareMeans(DescrStatsW(values[treated]), DescrStatsW(values[~treated]))
        low, high = arms.tconfint_diff(0.05, usevar="unequal")
        p = arms.ttest_ind(usevar="unequal")[1]
        return {
            "difference": values[treated].mean() - values[~treated].mean(), "low": low, "high": high, "p": p,
            "error": arms.std_meandiff_separatevar,
        }  # fmt: skip

    table = pa.table({"variant": treated.astype(int), "y": y, "before": before})
    tea = tt.Experiment(cuped=tt.Mean("y", "before", use_t=True, equal_var=False), ratio=tt.SampleRatio(
        (1 - SHARE) / SHARE, method="norm", correction=False
    )).analyze(table)  # fmt: skip
    size = NormalIndPower().solve_power(
        nobs1=CUSTOMERS - HOLDOUT, alpha=0.05, power=POWER, ratio=HOLDOUT / (CUSTOMERS - HOLDOUT)
    )
    changed, control, after = days()
    panel = np.concatenate([changed, control])
    made, later = np.repeat([1.0, 0.0], DAYS), np.tile(after.astype(float), 2)
    design = np.column_stack([np.ones(2 * DAYS), made, later, made * later])
    blocks = np.tile(np.arange(DAYS) // BLOCK, 2)
    clustered = sm.OLS(panel, design).fit(
        cov_type="cluster", cov_kwds={"groups": blocks, "use_correction": False}
    )
    gap = (changed - control).reshape(-1, BLOCK).mean(1)
    first = gap[: len(gap) // 2]
    line = sm.OLS(first, sm.add_constant(np.arange(len(first)) * BLOCK + (BLOCK - 1) / 2)).fit()
    robust = sm.OLS(gap, sm.add_constant((np.arange(len(gap)) >= len(first)).astype(float))).fit(
        cov_type="HC2"
    )
    return {
        "versions": {name: version(name) for name in ("statsmodels", "tea-tasting", "numpy", "scipy")},
        "plain": welch(y),
        "cuped": welch(better),
        "tea_cuped": {
            "difference": tea["cuped"].effect_size, "low": tea["cuped"].effect_size_ci_lower,
            "high": tea["cuped"].effect_size_ci_upper, "p": tea["cuped"].pvalue,
        },
        "tea_ratio_p": tea["ratio"].pvalue,
        "detectable_size": size,
        "clusters": {"difference": clustered.params[3], "error": clustered.bse[3]},
        "blocks": {"difference": robust.params[1], "error": robust.bse[1]},
        "slope": {
            "slope": line.params[1], "p": line.pvalues[1], "low": line.conf_int()[1][0], "high": line.conf_int()[1][1],
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write tests/golden/trials.json")
    text = json.dumps(references(), indent=1, default=float) + "\n"
    if parser.parse_args().write:
        FILE.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
