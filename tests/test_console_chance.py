"""What chance gives, against scipy and by the definition; and the comparison of who left with who stayed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.console import beside, chance

_COUNT = st.integers(0, 60)


@given(_COUNT, _COUNT, _COUNT, _COUNT)
def test_p_values_are_those_of_scipy(hits: int, misses: int, other_hits: int, other_misses: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is of the extra models")
    n, others, total = hits + misses, other_hits + other_misses, hits + misses + other_hits + other_misses
    found = chance.p_value(hits, n, other_hits, others)
    if not n or not others or hits + other_hits in (0, total):
        assert found == 1
        return
    cells = [[hits, misses], [other_hits, other_misses]]
    if stats.contingency.expected_freq(cells).min() < 5 - 1e-9:
        expected = stats.fisher_exact(cells).pvalue
    else:
        expected = stats.chi2_contingency(cells, correction=False).pvalue
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_rejects_from_the_smallest_on_until_one_stands(found: list[float]) -> None:
    adjusted = chance.holm(found)
    rejected = set()
    for rank, place in enumerate(sorted(range(len(found)), key=found.__getitem__)):
        if (len(found) - rank) * found[place] >= chance.ALPHA:
            break
        rejected.add(place)
    assert {place for place, each in enumerate(adjusted) if each < chance.ALPHA} == rejected
    assert all(each >= alone for each, alone in zip(adjusted, found, strict=True))


def _rows(counts: dict[str, int]) -> list[dict[str, object]]:
    return [
        {"step": 1, "from_place": place, "to_place": "web", "outcome": "later", "journeys": journeys}
        for place, journeys in counts.items()
    ]


def test_one_of_many_comparisons_is_no_difference_unless_it_is_beyond_what_they_give() -> None:
    totals = {"left": 60, "stayed": 1909}
    same = {f"p{n}": 300 for n in range(95)}
    sides = {"left": dict.fromkeys(same, 9) | {"rare": 3}, "stayed": same | {"rare": 8}}
    alone = beside.edges({side: _rows({"rare": each["rare"]}) for side, each in sides.items()}, totals, 5)
    many = beside.edges({side: _rows(each) for side, each in sides.items()}, totals, 5)
    assert alone[0][1].is_clear
    assert len(many) == 96
    assert not any(pair.is_clear for _, pair, _ in many)
    sides["left"]["rare"] = 20
    first, *others = beside.edges({side: _rows(each) for side, each in sides.items()}, totals, 5)
    assert first[0][1] == "rare"
    assert first[1].is_clear
    assert not any(pair.is_clear for _, pair, _ in others)
