"""One record describes a kind or a feature; what is derived from it, and what must agree with it, does."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from cxstream.kernels import apply, layout
from cxstream.model import fields, outputs
from cxstream.model.enumerations import CHANGES, CHANNELS, CONTACT_CHANNELS, LEVELS, STAGES, SWITCH_CHANNELS
from cxstream.model.events import CONTROL, ENVELOPES, Forget, Tick
from cxstream.model.features import FEATURES, SPECS
from cxstream.model.kinds import BY_TYPE, Columns, Kind
from cxstream.model.parameters import ScoringParams
from cxstream.scoring import signals, words
from cxstream.scoring.codec import decode
from cxstream.scoring.state.constants import constants
from cxstream.settings import ACTIONS


def test_numbers_of_kinds_have_no_gap_and_stay_below_control_records() -> None:
    assert [int(kind) for kind in Kind] == list(range(len(Kind)))
    assert all(kind < CONTROL <= control.KIND for kind in Kind for control in (Tick, Forget))


@pytest.mark.parametrize("kind", Kind)
def test_what_is_derived_of_a_kind(kind: Kind) -> None:
    envelope = ENVELOPES[kind]
    assert (envelope.KIND, BY_TYPE[kind.type]) == (kind, kind)
    assert envelope.__annotations__["data"] is kind.spec.data
    points = ScoringParams().points[kind.label]
    assert (points.effort, points.mood) == kind.spec.points
    of_kernels = constants(ScoringParams())
    assert (of_kernels.effort[kind], of_kernels.mood[kind]) == kind.spec.points
    assert bool(of_kernels.company[kind]) == kind.spec.company
    assert bool(of_kernels.failed[kind]) == kind.spec.failed_step
    assert (decode._FILL[kind] is not None) == (kind.spec.fills is not None)
    assert kind.spec.description.endswith(".")


def test_every_way_to_fill_columns_is_there_and_is_used() -> None:
    assert {kind.spec.fills for kind in Kind} - {None} == set(get_args(Columns)) == set(decode.FILLS)


def test_plain_visits_have_no_points_by_default() -> None:
    # Plain visits are remembered for a shorter time, which is harmless as long as they have no points.
    assert all(kind.spec.points == (0, 0) for kind in Kind if kind.spec.visit)


@pytest.mark.parametrize("name", FEATURES)
def test_what_is_derived_of_a_feature(name: str) -> None:
    params = ScoringParams()
    place = FEATURES.index(name)
    assert getattr(layout, f"X_{name.upper()}") == place
    assert (params.coefficients[name], params.typical[name]) == (SPECS[name].coefficient, SPECS[name].typical)
    assert ACTIONS[name] == SPECS[name].action
    assert constants(params).b[place] == SPECS[name].coefficient
    assert words.value(name, 0.5, {"effort": 50.0, "satisfaction": 50.0}, params)
    row = np.ones(layout.SIGNAL_WIDTH)
    assert words.evidence(name, row.tolist(), "invoice", 1.0)


def test_features_have_one_order_everywhere() -> None:
    assert tuple(SPECS) == tuple(ScoringParams().coefficients) == tuple(ScoringParams().typical) == FEATURES
    assert len(FEATURES) == layout.FEATURES


def test_enumerations_agree_with_what_uses_them() -> None:
    assert set(CONTACT_CHANNELS) <= set(CHANNELS)
    assert set(SWITCH_CHANNELS) <= set(CONTACT_CHANNELS)
    assert fields.Data.__annotations__["channel"] == "Channel"
    assert len(LEVELS) == len(ScoringParams().thresholds) + 1
    assert get_args(outputs.Level) == LEVELS
    assert set(signals._WHAT.values()) == {*CHANGES, "friction", "erased"}
    assert len(set(STAGES)) == len(STAGES)


def test_kernels_know_kinds_by_their_numbers() -> None:
    assert (Kind.contact, Kind.churned, Kind.survey_nps) == (apply.CONTACT, apply.CHURNED, apply.NPS)
