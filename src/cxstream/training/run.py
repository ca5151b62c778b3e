"""`cxstream train purchases`: from inputs to fitted models, a check of them, and a set of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.model.errors import InputError
from cxstream.model.parameters import PurchaseModel, ValueModel
from cxstream.model.rules import Rules, rules_of
from cxstream.training.customers import group
from cxstream.training.holdout import Holdout, cut_of, hold_out
from cxstream.training.log import Source, read_log
from cxstream.training.models import MBG_NBD
from cxstream.training.purchases import Fitted, fit_model, fit_purchases, for_rules
from cxstream.training.rfm import is_rfm, read_rfm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.training.log import Bought

_MS_OF_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the models.

    Attributes:
        unit_days: their unit of time, in days; a file of customers is in this unit.
        holdout_days: days at the end that the check leaves out; None: a quarter of the time; 0: no check.
        until: ms UTC, end of the time of observation; None: the last event.
        margin: what is left of a purchase, as a share of it.
        horizon_days: how far the value of customers looks ahead.
        discount: rate a year at which later purchases count less.
    """

    unit_days: float = 7.0
    holdout_days: int | None = None
    until: int | None = None
    margin: float = 1.0
    horizon_days: float = 365.0
    discount: float = 0.1


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it.

    Attributes:
        fitted: the models.
        wanted: what was asked.
        holdout: the check; None where there is none.
        bought: the purchases in a log; None of a file of customers.
    """

    fitted: Fitted
    wanted: Wanted
    holdout: Holdout | None
    bought: Bought | None


def train(source: Source, wanted: Wanted, say: Callable[[str], None] = lambda _: None) -> Trained:
    """Fit the models.

    Args:
        source: touchpoint files, or one CSV file of customers.
        wanted: what is asked.
        say: takes what is done now.

    Raises:
        InputError: the inputs cannot be read, or no model can be fitted to them.
    """
    if source.feed is None and any(map(is_rfm, source.paths)):
        return _train_rfm(source.paths, wanted, say)
    if wanted.holdout_days != 0:
        _require_files(source)
    say("reading purchases")
    bought = read_log(source, wanted.until, each=wanted.holdout_days != 0)
    fitted = fit_purchases(bought.customers().in_units(wanted.unit_days), on_fit=_fitting(say))
    fitted.warnings += [
        f"{count:,} amounts in {code} counted as 0: add its rate to scoring.rates"
        for code, count in sorted(bought.unconverted.items())
    ]
    return Trained(fitted, wanted, _check(source, wanted, bought, fitted, say), bought)


def _require_files(source: Source) -> None:
    for path in source.paths:
        # A file that is missing is reported by what reads it.
        if source.feed is None and path.exists() and not path.is_file():
            raise InputError(
                f"{path}: the check on a holdout reads the inputs twice, which a pipe does not allow: name a file, or "
                "leave the check out with --holdout-days 0"
            )


def _train_rfm(paths: tuple[Path, ...], wanted: Wanted, say: Callable[[str], None]) -> Trained:
    if len(paths) > 1:
        raise InputError(f"{paths[0]}: a CSV file of customers cannot be read together with other inputs")
    say("reading customers")
    fitted = fit_purchases(read_rfm(paths[0]), on_fit=_fitting(say))
    return Trained(fitted, wanted, None, None)


def _fitting(say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda title: say(f"fitting {title}")


def _check(
    source: Source, wanted: Wanted, bought: Bought, fitted: Fitted, say: Callable[[str], None]
) -> Holdout | None:
    """Fit the model of the rules to the purchases before the holdout, and compare."""
    if wanted.holdout_days == 0:
        return None
    cut = cut_of(bought, wanted.holdout_days)
    first = int(bought.first.min())
    if not first < cut < bought.end:
        fitted.warnings.append(
            f"no holdout: the purchases span {bought.end - first:,} days, too few to leave some of them out"
        )
        return None
    say("reading purchases before the holdout")
    before = read_log(source, (cut + 1) * _MS_OF_DAY - 1)
    say("fitting to purchases before the holdout")
    fit = fit_model(MBG_NBD, group(before.customers().in_units(wanted.unit_days)))
    if not fit.converged:
        fitted.warnings.append(f"holdout: {fit.problems[0]}")
    return hold_out(MBG_NBD, fit, wanted.unit_days, before, bought)


def rules_with(rules: Rules, trained: Trained) -> Rules:
    """Rules with the fitted models.

    Raises:
        InputError: the model of purchases has not converged, and says too little.
    """
    found, wanted = for_rules(trained.fitted), trained.wanted
    if not found.usable:
        raise InputError(
            f"the model of purchases cannot be used: {'; '.join(found.problems)}; no rules were written"
        )
    buys = PurchaseModel(**found.parameters(), unit_days=wanted.unit_days)
    spend, value = trained.fitted.spend, None
    if spend is not None and spend.converged and spend.values[1] > 1:
        value = ValueModel(
            **spend.parameters(),
            margin=wanted.margin,
            horizon_days=wanted.horizon_days,
            discount=wanted.discount,
        )
    params = rules.params.model_copy(update={"purchase_model": buys, "value_model": value})
    return rules_of(params, rules.actions)
