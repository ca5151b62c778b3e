"""Cards that are written together are those that the encoder of their type writes one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS
from cxstream.model.features import FEATURES
from cxstream.model.rfc3339 import date, rfc3339
from cxstream.scoring.cards import Facts, cards, merged
from cxstream.scoring.codec.packed import AFTER, Packed

if TYPE_CHECKING:
    from collections.abc import Iterator

subjects = st.one_of(
    st.text(max_size=40),
    st.sampled_from(['"},{"effort":', '\\"},{\\"effort":1', "%b", "@id@", "@data@", 'a",', "żółć 👍"]),
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
money = st.none() | st.floats(-1e150, 1e150)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(subjects, max_size=5))
def test_cards_of_many_customers_are_those_of_each(data: st.DataObject, whose: list[str]) -> None:
    n = len(whose)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    some = data.draw(st.lists(numbers, min_size=20, max_size=20))
    values = rng.choice([0.0, 0.1, 1.0, 55.5, 1e-9, 123456.75, *some], (n, k.CARD_WIDTH))
    values[:, [k.C_T1, k.C_T7, k.C_T30, k.C_T90]] = rng.integers(0, 99, (n, 4))
    values[rng.random(n) < 0.5, k.C_ALIVE] = np.nan
    each = st.lists(st.integers(0, len(LEVELS) - 1), min_size=n, max_size=n).map(np.array)
    times = rng.integers(0, 4_000_000_000_000, (2, n))
    worths = data.draw(st.lists(money, min_size=n, max_size=n))
    labels = data.draw(st.lists(subjects, min_size=1, max_size=3))
    facts = Facts(
        data.draw(each),
        data.draw(each),
        times[0],
        times[1],
        rng.integers(0, 1 << 40, n),
        rng.integers(0, 9, n),
        np.where(rng.random(n) < 0.3, k.NO_DAY, rng.integers(-800_000, 3_000_000, n)),
        np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)), float),
        np.array([np.nan if worth is None else worth for worth in worths], float),
        labels,
        rng.integers(0, len(labels), n),
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
            purchases=int(facts.purchases[i]),
            last_purchase=None if facts.last_purchases[i] == k.NO_DAY else date(int(facts.last_purchases[i])),
            spent=float(facts.spent[i]),
            model=labels[facts.judged[i]],
            p_alive=None if np.isnan(row[k.C_ALIVE]) else row[k.C_ALIVE],
            clv=clv,
            value_at_risk=None if clv is None else clv * row[k.C_P],
        )
        name = f"cx.touchpoints-3-{facts.offsets[i]}:{subject}"
        time = rfc3339(int(facts.clocks[i]))
        score = o.Score(id=name, subject=subject, time=time, data=card)
        expected.append(msgspec.json.encode(score))
    found = cards("cx.touchpoints-3", Packed.of([subject.encode() for subject in whose]), values, facts)
    assert list(found) == expected
    assert found.text[: -len(AFTER)] == b"".join(card + b"\n" for card in expected)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.binary(max_size=3) | st.sampled_from([b"c1", b"c10", "Zoë".encode(), b"x" * 40]), unique=True
    ),
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=60, max_size=60),
    st.integers(2, 4),
)
def test_cards_of_several_places_come_in_one_order(
    names: list[bytes], where: list[tuple[int, bool]], count: int
) -> None:
    streams: list[list[list[bytes]]] = [[[]] for _ in range(count)]
    for name, (place, ends) in zip(sorted(names), where, strict=False):
        stream = streams[place % count]
        stream[-1].append(name)
        if ends:
            stream.append([])

    def blocks(stream: list[list[bytes]]) -> Iterator[tuple[Packed, Packed]]:
        for some in stream:
            yield Packed.of(some), Packed.of([b"<%b>" % name for name in some], b"\n")

    found = list(merged([blocks(stream) for stream in streams]))
    expected = sorted(names)[: len(where)]
    assert [name for some, _ in found for name in some] == expected
    assert [card for _, some in found for card in some] == [b"<%b>" % name for name in expected]
    for _, some in found:
        assert b"".join(b"%b\n" % card for card in some) == bytes(some.text)[: -len(AFTER)]


def test_cards_of_many_places_come_in_one_order() -> None:
    names = sorted(b"c%d" % (n * n) for n in range(600))
    for count in range(2, 40):
        streams = [
            Packed.of([name for i, name in enumerate(names) if i * i % 41 % count == k]) for k in range(count)
        ]
        found = merged([iter([(some, Packed.of(some, b"\n"))]) for some in streams])
        assert [name for some, _ in found for name in some] == names
