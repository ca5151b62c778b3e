"""Cards that are written together are those that the encoder of their type writes one by one."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS
from cxstream.model.features import FEATURES
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.cards import Facts, cards

subjects = st.one_of(
    st.text(max_size=12).filter(str.isprintable),
    st.sampled_from(['"},{"effort":', '\\"},{\\"effort":1', "%b", "@id@", "@data@", 'a",', "żółć 👍"]),
)
money = st.none() | st.floats(0, 1e9)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(subjects, max_size=5))
def test_cards_of_many_customers_are_those_of_each(data: st.DataObject, whose: list[str]) -> None:
    n = len(whose)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = rng.choice([0.0, 0.1, 1.0, 55.5, 1e-9, 123456.75], (n, k.CARD_WIDTH))
    values[:, [k.C_T1, k.C_T7, k.C_T30, k.C_T90]] = rng.integers(0, 99, (n, 4))
    values[rng.random(n) < 0.5, k.C_ALIVE] = np.nan
    each = st.lists(st.integers(0, len(LEVELS) - 1), min_size=n, max_size=n).map(np.array)
    times = rng.integers(0, 4_000_000_000_000, (2, n))
    worths = data.draw(st.lists(money, min_size=n, max_size=n))
    facts = Facts(
        data.draw(each),
        data.draw(each),
        times[0],
        times[1],
        rng.integers(0, 1 << 40, n),
        rng.integers(0, 9, n).tolist(),
        data.draw(st.lists(st.sampled_from([None, "2026-03-01"]), min_size=n, max_size=n)),
        data.draw(st.lists(st.floats(0, 1e9), min_size=n, max_size=n)),
        worths,
        data.draw(st.lists(subjects, min_size=n, max_size=n)),
    )
    expected = []
    for i, subject in enumerate(whose):
        row = values[i].tolist()
        clv = worths[i]
        card = o.ScoreCard(
            effort=row[k.C_EFFORT],
            effort_halfwidth=row[k.C_EFFORT_HW],
            satisfaction=row[k.C_SAT],
            satisfaction_halfwidth=row[k.C_SAT_HW],
            probability=row[k.C_P],
            level=LEVELS[facts.levels[i]],
            announced=LEVELS[facts.announced[i]],
            acute=row[k.C_ACUTE],
            features={name: row[k.C_X + j] for j, name in enumerate(FEATURES)},
            last_touch=rfc3339(int(facts.touched[i])),
            touches=o.Touches(*(int(row[at]) for at in (k.C_T1, k.C_T7, k.C_T30, k.C_T90))),
            purchases=facts.purchases[i],
            last_purchase=facts.last_purchases[i],
            spent=facts.spent[i],
            model=facts.labels[i],
            p_alive=None if np.isnan(row[k.C_ALIVE]) else row[k.C_ALIVE],
            clv=clv,
            value_at_risk=None if clv is None else clv * row[k.C_P],
        )
        name = f"cx.touchpoints-3-{facts.offsets[i]}:{subject}"
        time = rfc3339(int(facts.clocks[i]))
        score = o.Score(id=name, subject=subject, time=time, data=card)
        expected.append((subject, msgspec.json.encode(score)))
    assert list(cards("cx.touchpoints-3", whose, values, facts)) == expected
