"""The passes over a batch, before its records are applied and after, beside NumPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cxstream.kernels.batches import FATES, KINDS, prepare, sum_up
from cxstream.kernels.layout import ACCEPTED, EVENT, FROM_THE_FUTURE, RULED, TOO_LATE

RECORDS = st.lists(
    st.tuples(st.integers(0, KINDS - 1), st.integers(0, RULED), st.integers(0, 2**31 - 1)), max_size=40
)


def columns_of(records):
    columns = np.zeros(len(records), EVENT)
    columns["kind"] = [kind for kind, _, _ in records]
    return columns


@given(records=RECORDS, kind=st.integers(0, KINDS - 1))
def test_slots_and_kinds_of_a_batch(records, kind):
    kind = records[0][0] if records else kind
    columns, slots = columns_of(records), np.array([slot for *_, slot in records], np.int32)
    counts, places = np.zeros(KINDS, np.int64), np.full(len(records), -1)
    found = prepare(columns, slots, kind, counts, places)
    assert columns["slot"].tolist() == slots.tolist()
    assert counts.tolist() == np.bincount(columns["kind"], minlength=KINDS).tolist()
    assert places[:found].tolist() == np.flatnonzero(columns["kind"] == kind).tolist()


@given(records=RECORDS, wanted=st.sets(st.integers(0, KINDS - 1)))
def test_fates_of_a_batch(records, wanted):
    wanted |= {kind for kind, status, _ in records if status == ACCEPTED and kind % 2}
    columns, status = columns_of(records), np.array([fate for _, fate, _ in records], np.uint8)
    looked_at = np.isin(np.arange(KINDS), list(wanted))
    counts = np.zeros(FATES, np.int64)
    accepted, refused = np.full((2, len(records)), -1)
    some, others = sum_up(columns, status, looked_at, counts, accepted, refused)
    assert counts.tolist() == np.bincount(status, minlength=FATES).tolist()
    of_those = (status == ACCEPTED) & looked_at[columns["kind"]]
    assert accepted[:some].tolist() == np.flatnonzero(of_those).tolist()
    assert refused[:others].tolist() == np.flatnonzero(np.isin(status, [TOO_LATE, FROM_THE_FUTURE])).tolist()
