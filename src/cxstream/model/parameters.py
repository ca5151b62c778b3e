"""Every constant of the scores, as one typed object.

The defaults are the reference; docs/scoring.md says what each one does. They are part of what makes a
result reproducible: two runs agree only under the same parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cxstream.model.experiments import MAX_EXPERIMENTS, Experiment, ExperimentName, by_level
from cxstream.model.features import FEATURES, FIRST_FEATURES, SPECS
from cxstream.model.fields import Data
from cxstream.model.kinds import Kind
from cxstream.model.text import DIGESTS, TEXT_LANGUAGES, TextLanguage

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
MAX_RECORD_BYTES = 1 << 20
# Kinds are numbers of one byte, and some of them are control records.
MAX_OWN_KINDS = 100

# Rules come from the log: no valid set may make a number that the kernels or JSON cannot hold.
MAX_PARAMETER = 1e9
MAX_COEFFICIENT = 1e6
# Smaller ones divide what is rounded by next to nothing: scores would leave 0..100.
MIN_PARAMETER = 1e-9
# Beyond five years nobody knows, and each month costs time.
MAX_HORIZON_DAYS = 1830
# Of the default churn risk.
_HORIZON_DAYS = 30
Positive = Annotated[float, Field(ge=MIN_PARAMETER, le=MAX_PARAMETER)]
Share = Annotated[float, Field(ge=0, le=1)]
Coefficient = Annotated[float, Field(ge=-MAX_COEFFICIENT, le=MAX_COEFFICIENT)]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$")]


def implied(given: Mapping[str, object]) -> dict[str, Any]:
    """What parameters mean that are named beside others, and do not name all: not everything else has its default.

    The default horizon is that of the default intercept and coefficients, and says nothing of others. A table with all
    features of the first version is complete: it is of a version that knew no others.

    Args:
        given: parameters by name.
    """
    found: dict[str, Any] = {}
    if "churn_horizon_days" not in given and not {"intercept", "coefficients"}.isdisjoint(given):
        found["churn_horizon_days"] = None
    for name in ("coefficients", "typical"):
        table = given.get(name)
        if isinstance(table, dict) and set(FIRST_FEATURES) <= set(table):
            found[name] = {feature: 0.0 for feature in FEATURES if feature not in table}
    return found


class Points(BaseModel):
    """What one event adds to the pane of its own event time.

    Attributes:
        effort: effort points, 0 or more.
        mood: mood points; what pleases is above 0, what annoys below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    effort: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    mood: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0


class OwnKind(BaseModel):
    """A touchpoint kind of the company's own; its event type is `cx.touchpoint.<name>.v1`.

    Attributes:
        effort: effort points, 0 or more.
        mood: mood points; what pleases is above 0, what annoys below.
        failed_step: a digital step that failed: a contact that follows it may be a channel switch.
        company: the company did it: no sign of life of the customer.
        requires: fields of `data` that an event must have, beside `channel`.
        description: what happened, for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    effort: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    mood: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    failed_step: bool = False
    company: bool = False
    requires: tuple[Annotated[str, Field(max_length=64)], ...] = Field((), max_length=40)
    description: Annotated[str, Field(max_length=1000)] = ""

    @model_validator(mode="after")
    def _known(self) -> OwnKind:
        unknown = [repr(name) for name in self.requires if name not in _FIELDS]
        if unknown:
            some = f"unknown field{'' if len(unknown) == 1 else 's'} {', '.join(unknown)}"
            raise ValueError(f"requires: {some}; known are {', '.join(_FIELDS)}")
        return self

    @property
    def costs(self) -> bool:
        """Whether it costs the customer effort or annoys: evidence of signals counts it by its name."""
        return self.effort > 0 or self.mood < 0


class PurchaseModel(BaseModel):
    """A fitted model of when customers buy and when they stop: MBG/NBD (Batislam, Denizel and Filiztekin 2007).

    Attributes:
        kind: always mbg_nbd.
        r: shape of the distribution of the rates of purchase.
        alpha: its scale, in the unit of time.
        a: first parameter of the distribution of the probability to leave after a purchase.
        b: second parameter of it.
        unit_days: the unit of time of alpha, in days.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mbg_nbd"] = "mbg_nbd"
    r: Positive
    alpha: Positive
    a: Positive
    b: Positive
    unit_days: Positive = 7.0


class ValueModel(BaseModel):
    """What a customer is worth: a fitted Gamma-Gamma model of what a purchase brings, and how far to look ahead.

    Attributes:
        p: shape of the distribution of amounts about a customer's mean.
        q: shape of the distribution of the means; above 1, or their average would be infinite.
        v: its scale, in the base currency.
        margin: what is left of a purchase, as a share of it.
        horizon_days: how far to look ahead, in days.
        discount: rate a year at which later purchases count less.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    p: Positive
    q: Annotated[float, Field(gt=1, le=MAX_PARAMETER)]
    v: Positive
    margin: Annotated[float, Field(ge=MIN_PARAMETER, le=1)] = 1.0
    horizon_days: Annotated[float, Field(ge=1, le=MAX_HORIZON_DAYS)] = 365.0
    discount: Annotated[float, Field(ge=0, le=10)] = 0.1


class TextModelParams(BaseModel):
    """The text model that gives a sentiment to texts without one.

    Attributes:
        name: of the model.
        digest: of its weights: other weights would give other scores.
        languages: ISO 639-1 codes of the languages that get a sentiment, in alphabetical order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(json_schema_extra={"enum": list(DIGESTS)})]
    digest: Annotated[str, Field(json_schema_extra={"enum": list(DIGESTS.values())})]
    languages: tuple[TextLanguage, ...] = Field(TEXT_LANGUAGES, min_length=1, max_length=len(TEXT_LANGUAGES))

    @field_validator("name")
    @classmethod
    def _released(cls, name: str) -> str:
        if name not in DIGESTS:
            raise ValueError(f"{name[:64]!r} is no text model of this version; there is {', '.join(DIGESTS)}")
        return name

    @field_validator("languages")
    @classmethod
    def _in_order(cls, languages: tuple[TextLanguage, ...]) -> tuple[TextLanguage, ...]:
        """Keep each once and in order, so that the order of a file does not matter."""
        return tuple(language for language in TEXT_LANGUAGES if language in languages)

    @model_validator(mode="after")
    def _same_weights(self) -> TextModelParams:
        if self.digest != DIGESTS[self.name]:
            raise ValueError(
                f"digest: {self.digest[:64]!r} is not the digest of {self.name}, which is {DIGESTS[self.name]}"
            )
        return self


_FIELDS = tuple(name for name in Data.__struct_fields__ if name != "channel")
KindName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", max_length=64)]


_LABELS = frozenset(kind.label for kind in Kind)


def _points() -> dict[str, Points]:
    return {kind.label: Points(effort=kind.spec.points[0], mood=kind.spec.points[1]) for kind in Kind}


class ScoringParams(BaseModel):
    """The constants of the scores; times in the unit of their name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", max_length=64)] = Field(
        "default-2", description="Name of the rules, which every output repeats with a digest of them."
    )

    # --- time
    window_days: int = Field(
        90, ge=1, le=366, description="Length of the window in panes (days); older records are too late."
    )
    surge_days: int = Field(7, ge=1, le=366, description="Panes of the short window of `surge`.")
    half_life_days: Positive = Field(14.0, description="Half-life of a pane's weight, in days.")
    forget_days: int = Field(
        365,
        ge=1,
        le=MAX_PARAMETER,
        description="Days without a touch after which the state of a customer is deleted.",
    )
    future_minutes: Annotated[float, Field(ge=0, le=MAX_PARAMETER)] = Field(
        5.0, description="How far an event time may be after the record's Kafka timestamp, in minutes."
    )

    max_record_bytes: int = Field(
        MAX_RECORD_BYTES,
        ge=1024,
        le=4 << 20,
        description="Maximum bytes of a record's key, value and headers, not compressed; in a file, of one record "
        "as it is in the file. A larger record is rejected as too_large, by reference.",
    )
    dedupe: Literal["window", "recent"] = Field(
        "window",
        description="How far back duplicates are recognised: within the window, or among a customer's last 32 "
        "events.",
    )
    visit_dedupe_days: int = Field(
        2,
        ge=1,
        le=366,
        description="Days within which duplicates of plain visits are recognised, and raw clicks can make a rage "
        "click.",
    )

    # --- points
    points: dict[str, Points] = Field(
        default_factory=_points, description="Effort and mood points of each kind; name only those to change."
    )
    kinds: dict[KindName, OwnKind] = Field(
        default_factory=dict,
        max_length=MAX_OWN_KINDS,
        description="Touchpoint kinds of the company's own, each a table `[scoring.kinds.NAME]` with `effort`, `mood`, "
        "`failed_step`, `company`, `requires` and `description`.",
    )
    max_effort: float = Field(
        30.0, gt=0, le=1e6, description="The most effort one event can add, derived points included."
    )
    max_mood: float = Field(
        10.0, gt=0, le=1e6, description="The most mood one event can add or take, derived points included."
    )
    wait_free_minutes: float = Field(
        1.0, ge=0, le=MAX_PARAMETER, description="Waiting time without effort, in minutes."
    )
    wait_effort_per_minute: float = Field(
        1.0, ge=0, le=MAX_PARAMETER, description="Effort of each further minute of waiting."
    )
    wait_effort_max: float = Field(
        10.0, ge=0, le=MAX_PARAMETER, description="Maximum effort of one waiting time."
    )
    transfer: Points = Field(Points(effort=2, mood=-0.5), description="Each transfer of a contact.")
    transfers_max: float = Field(
        5.0, ge=0, le=MAX_PARAMETER, description="Transfers of one contact that count."
    )
    abandoned: Points = Field(
        Points(effort=3, mood=-1.5), description="A contact that the customer abandoned."
    )
    resolved: Points = Field(Points(effort=0, mood=1), description="A contact that solved the problem.")
    unresolved: Points = Field(
        Points(effort=3, mood=-1.5), description="A contact that did not solve the problem."
    )
    late_day: Points = Field(Points(effort=1, mood=-0.5), description="Each day a delivery is late.")
    late_days_max: float = Field(5.0, ge=0, le=MAX_PARAMETER, description="Days of lateness that count.")
    on_time: Points = Field(Points(effort=0, mood=0.5), description="A delivery that is not late.")
    repeat_contact: Points = Field(
        Points(effort=3, mood=-1), description="A contact about the topic of a recent contact."
    )
    repeat_days: Positive = Field(7.0, description="Maximum time since that contact, in days.")
    channel_switch: Points = Field(
        Points(effort=2, mood=-0.5), description="A call, shop or social contact after a failed digital step."
    )
    switch_hours: Positive = Field(24.0, description="Maximum time since the failed step, in hours.")
    rage_clicks: int = Field(3, ge=2, le=100, description="Clicks in a row that count as a rage click.")
    rage_ms: int = Field(
        1000,
        ge=1,
        le=MAX_PARAMETER,
        description="Maximum time between two of these clicks, in ms; each must come earlier than that.",
    )
    rage_px: Positive = Field(30.0, description="... and less than this from it, in px (Manhattan).")

    # --- answers
    csat_weight: float = Field(1.0, ge=0, le=100, description="Weight of a CSAT answer.")
    ces_weight: float = Field(1.0, ge=0, le=100, description="Weight of a CES answer.")
    review_weight: float = Field(0.5, ge=0, le=100, description="Weight of a review.")
    nps_weight: float = Field(0.5, ge=0, le=100, description="Weight of an NPS answer in the satisfaction.")
    social_weight: float = Field(0.25, ge=0, le=100, description="Weight of a social post's sentiment.")

    # --- scores
    prior_strength: Positive = Field(1.0, description="k: the weight of the implicit score, in answers.")
    effort_scale: Positive = Field(10.0, description="Effort points that halve the distance to 100.")
    satisfaction_prior: float = Field(
        0.7, gt=0, lt=1, description="Implicit satisfaction with no mood, 0..1."
    )
    mood_scale: Positive = Field(4.0, description="Mood points worth one unit of log-odds of satisfaction.")
    answer_sd: Positive = Field(
        27.0, description="Standard deviation of a customer's answers about their mean, on 0..100."
    )
    effort_spread: float = Field(
        38.0,
        ge=0,
        le=MAX_PARAMETER,
        description="Standard deviation of the implicit effort about that mean, without a touch, on 0..100.",
    )
    satisfaction_spread: float = Field(
        0.0,
        ge=0,
        le=MAX_PARAMETER,
        description="Standard deviation of the implicit satisfaction about it, likewise.",
    )
    touch_weight: float = Field(
        0.01,
        ge=0,
        le=MAX_PARAMETER,
        description="The variances of implicit scores are divided by 1 + this for each touch.",
    )
    z: Positive = Field(1.96, description="Standard normal quantile of the half-widths.")

    # --- acute friction
    acute_half_life_minutes: Positive = Field(30.0, description="Half-life of acute friction, in minutes.")
    acute_threshold: Positive = Field(8.0, description="Effort points at which a friction signal is sent.")
    acute_rearm: float = Field(
        4.0,
        ge=0,
        le=MAX_PARAMETER,
        description="The next friction signal needs friction below this value first.",
    )

    # --- churn risk
    intercept: Coefficient = Field(-5.48, description="b0 of the churn risk.")
    coefficients: dict[str, Coefficient] = Field(
        default_factory=lambda: {name: spec.coefficient for name, spec in SPECS.items()},
        description="b of each feature; name only those to change.",
    )
    typical: dict[str, Coefficient] = Field(
        default_factory=lambda: {name: spec.typical for name, spec in SPECS.items()},
        description="x of a typical customer, with which reasons are compared; name only those to change.",
    )
    churn_horizon_days: int | None = Field(
        _HORIZON_DAYS,
        ge=1,
        le=MAX_HORIZON_DAYS,
        description="Days within which the churn risk is the probability to leave, as 'cxstream train churn' has fitted "
        "it. None in rules with an intercept or coefficients of their own that do not name it: their risk ranks customers "
        "and is no probability.",
    )
    detractor_max: int = Field(6, ge=0, le=10, description="The highest NPS answer of a detractor.")
    complaints_scale: float = Field(
        3.0, gt=0, le=MAX_PARAMETER, description="Open complaints at which the feature is 1."
    )
    silence_min_panes: int = Field(3, ge=2, le=366, description="Minimum number of active panes for silence.")
    silence_max: Positive = Field(3.0, description="Missed rhythms at which the feature is 1.")
    slowdown_days: int = Field(
        14, ge=1, le=365, description="Recent panes that slowdown compares with those before."
    )
    slowdown_max: Positive = Field(6.0, description="Missed active days at which the feature is 1.")
    just_unsubscribed_days: int = Field(
        21, ge=1, le=366, description="Panes for which an unsubscription counts as just_unsubscribed."
    )
    unresolved_scale: Positive = Field(
        2.0, description="Contacts without help, weighted by age, at which the feature is 1."
    )
    thresholds: tuple[Share, Share, Share] = Field(
        (0.055, 0.16, 0.39), description="Probability at which elevated, high and critical begin."
    )
    hysteresis: Share = Field(
        0.008, description="How far below its threshold the risk must be for a level to fall."
    )
    cooldown_days: float = Field(
        7.0,
        ge=0,
        le=MAX_PARAMETER,
        description="Minimum days between raises, unless the new level is higher than that of the last raise.",
    )

    worsened: Annotated[float, Field(gt=0, le=1)] = Field(
        0.015,
        description="Rise of the probability since the last signal that causes a worsened signal at the same "
        "level.",
    )
    worsened_hours: float = Field(
        24.0, ge=0, le=MAX_PARAMETER, description="Minimum age of that signal by the clock, in hours."
    )

    # --- purchases
    base_currency: CurrencyCode = Field(
        "EUR", description="ISO 4217 code of the currency of `spent` in score cards."
    )
    rates: dict[CurrencyCode, Positive] = Field(
        default_factory=dict,
        description="Units of the base currency for one unit of another one, by its ISO 4217 code. An amount without a "
        "rate counts as a purchase, and its amount as 0.",
    )
    purchase_model: PurchaseModel | None = Field(
        None,
        description="Fitted model of purchases, which 'cxstream train purchases' writes: gives `lapse` and `p_alive`. "
        "A table with `kind`, `r`, `alpha`, `a`, `b` and `unit_days`; none by default.",
    )
    value_model: ValueModel | None = Field(
        None,
        description="Fitted model of amounts, likewise: gives `clv` and `value_at_risk`. A table with `p`, `q`, `v`, "
        "`margin`, `horizon_days` and `discount`; none by default. It needs a purchase_model.",
    )

    # --- texts
    text_model: TextModelParams | None = Field(
        None,
        description="Text model that gives a sentiment to contacts, complaints, survey answers, reviews and social posts "
        "with a `text` and without a `sentiment`. A table with `name`, `digest` and `languages`; none by default.",
    )

    # --- experiments
    experiments: dict[ExperimentName, Experiment] | None = Field(
        None,
        max_length=MAX_EXPERIMENTS,
        description="Experiments that hold out some of the customers at risk, each a table `[scoring.experiments.NAME]` "
        "with `holdout`, `levels` and `salt`; none by default.",
    )

    @property
    def has_own_risk(self) -> bool:
        """Whether intercept or coefficients of the churn risk are other ones than the defaults, which fit simulated customers."""
        fields = type(self).model_fields
        return any(
            getattr(self, name) != fields[name].get_default(call_default_factory=True)
            for name in ("intercept", "coefficients")
        )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: dict[str, object]) -> dict[str, object]:
        """Fill the tables with the defaults of what they do not name; refuse names that do not exist."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        unsaid = implied(data)
        data.setdefault("churn_horizon_days", unsaid.get("churn_horizon_days", _HORIZON_DAYS))
        for name, known in (
            ("points", [k.label for k in Kind]),
            ("coefficients", FEATURES),
            ("typical", FEATURES),
        ):
            given = data.get(name)
            if isinstance(given, dict):
                unknown = sorted(set(given) - set(known))
                if unknown:
                    raise ValueError(f"{name}: unknown name {unknown[0]!r}; known are {', '.join(known)}")
                defaults = cls.model_fields[name].get_default(call_default_factory=True)
                data[name] = {**defaults, **unsaid.get(name, {}), **given}
        return data

    @field_validator("kinds")
    @classmethod
    def _new(cls, kinds: dict[str, OwnKind]) -> dict[str, OwnKind]:
        """Refuse kinds that exist already; keep the others by name, so that the order of a file does not matter."""
        for name in kinds:
            if name in _LABELS:
                raise ValueError(f"{name}: a built-in kind; its points are set under points")
        return dict(sorted(kinds.items()))

    @field_validator("experiments")
    @classmethod
    def _apart(cls, experiments: dict[str, Experiment] | None) -> dict[str, Experiment] | None:
        """Keep experiments by name, so that the order of a file does not matter; without any, the rules name none."""
        return dict(sorted(experiments.items())) if experiments else None

    @model_validator(mode="after")
    def _ordered(self) -> ScoringParams:
        low, mid, high = self.thresholds
        if not low < mid < high:
            raise ValueError("thresholds: must rise, like 0.05, 0.15, 0.4")
        if self.surge_days > self.window_days:
            raise ValueError("surge_days: must not exceed window_days")
        if self.value_model is not None and self.purchase_model is None:
            raise ValueError("value_model: needs a purchase_model, too")
        by_level(self.experiments)
        if self.rates.get(self.base_currency, 1.0) != 1.0:
            raise ValueError(
                f"rates: {self.base_currency} is the base currency, its rate is always 1; leave it out"
            )
        return self
