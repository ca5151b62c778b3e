"""Parameters as the kernels want them: milliseconds, days and float64 arrays."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from cxstream.kernels.layout import FIRST_OWN, Constants
from cxstream.model.features import FEATURES
from cxstream.model.fields import currency_code
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, HOUR_MS, MINUTE_MS, OwnKind, Points, ScoringParams

# Of the digest of a kind's name.
NAME_BYTES = 8
_BYTE = 256


def digest_of(name: str) -> int:
    """What stands for a kind of the company's own in saved state: its number changes with the rules."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=NAME_BYTES).digest(), "little")


def _points(params: ScoringParams) -> dict[str, float]:
    named = ("transfer", "abandoned", "resolved", "unresolved", "on_time")
    pairs = {name: getattr(params, name) for name in named}
    pairs |= {"late": params.late_day, "repeat": params.repeat_contact, "switch": params.channel_switch}
    return {
        f"{name}_{letter}": value
        for name, p in pairs.items()
        for letter, value in (("e", p.effort), ("m", p.mood))
    }


def is_plain_visit(params: ScoringParams, kind: Kind) -> bool:
    """Whether an event of this kind changes no score."""
    points = params.points[kind.label]
    return kind.spec.visit and points.effort == 0 and points.mood == 0


def _is_plain(kind: OwnKind) -> bool:
    """Whether an event of this kind of the company's own changes no score."""
    return kind.effort == 0 and kind.mood == 0


def constants(params: ScoringParams) -> Constants:
    """Translate `params`."""
    buys = params.purchase_model
    kinds, own = list(Kind), list(params.kinds.values())
    points: list[Points | OwnKind] = [*(params.points[k.label] for k in kinds), *own]
    rates = {params.base_currency: 1.0, **params.rates}
    tallied = np.zeros(_BYTE, np.uint8)
    tallied[FIRST_OWN : FIRST_OWN + len(own)] = [each.costs for each in own]
    return Constants(
        effort=np.array([each.effort for each in points]),
        mood=np.array([each.mood for each in points]),
        company=np.array([*(k.spec.company for k in kinds), *(k.company for k in own)], np.uint8),
        plain=np.array([*(is_plain_visit(params, k) for k in kinds), *map(_is_plain, own)], np.uint8),
        tallied=tallied,
        own=np.array(list(map(digest_of, params.kinds)), np.uint64),
        failed=np.array([*(k.spec.failed_step for k in kinds), *(k.failed_step for k in own)], np.uint8),
        weights=np.array([2.0 ** (-age / params.half_life_days) for age in range(params.window_days)]),
        b=np.array([params.coefficients[name] for name in FEATURES]),
        thresholds=np.array(params.thresholds),
        window=params.window_days,
        visit_window=min(params.visit_dedupe_days, params.window_days),
        remembers=params.dedupe == "window",
        surge_window=params.surge_days,
        forget_ms=params.forget_days * DAY_MS,
        max_effort=params.max_effort,
        max_mood=params.max_mood,
        wait_free=params.wait_free_minutes,
        wait_rate=params.wait_effort_per_minute,
        wait_max=params.wait_effort_max,
        transfers_max=params.transfers_max,
        late_max=params.late_days_max,
        repeat_ms=round(params.repeat_days * DAY_MS),
        switch_ms=round(params.switch_hours * HOUR_MS),
        rage_clicks=params.rage_clicks,
        rage_ms=params.rage_ms,
        rage_px=params.rage_px,
        csat_weight=params.csat_weight,
        ces_weight=params.ces_weight,
        review_weight=params.review_weight,
        nps_weight=params.nps_weight,
        social_weight=params.social_weight,
        k=params.prior_strength,
        effort_scale=params.effort_scale,
        logit_prior=math.log(params.satisfaction_prior / (1 - params.satisfaction_prior)),
        mood_scale=params.mood_scale,
        z=params.z,
        answer_variance=params.answer_sd**2,
        effort_spread=params.effort_spread**2,
        satisfaction_spread=params.satisfaction_spread**2,
        touch_weight=params.touch_weight,
        acute_half_life=params.acute_half_life_minutes * MINUTE_MS,
        acute_threshold=params.acute_threshold,
        acute_rearm=params.acute_rearm,
        intercept=params.intercept,
        detractor_max=params.detractor_max,
        complaints_scale=params.complaints_scale,
        silence_min=params.silence_min_panes,
        silence_max=params.silence_max,
        slowdown_window=params.slowdown_days,
        slowdown_max=params.slowdown_max,
        unsubscribed_window=min(params.just_unsubscribed_days, params.window_days),
        unresolved_scale=params.unresolved_scale,
        hysteresis=params.hysteresis,
        cooldown_ms=round(params.cooldown_days * DAY_MS),
        worsened=params.worsened,
        currencies=np.array([currency_code(name) for name in rates], np.uint64),
        rates=np.array(list(rates.values()), np.float64),
        worsened_ms=round(params.worsened_hours * HOUR_MS),
        alive_r=buys.r if buys else 0.0,
        alive_alpha=buys.alpha * buys.unit_days if buys else 0.0,
        alive_a=buys.a if buys else 0.0,
        alive_b=buys.b if buys else 0.0,
        **_points(params),
    )
