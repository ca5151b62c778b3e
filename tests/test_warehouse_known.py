"""The number (`customer_id`) of each customer in memory, against a dictionary and a table of DuckDB."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.names import UNKNOWN
from cxstream.scoring.codec.packed import AFTER
from cxstream.warehouse.known import Known, _packed

NAMES = [f"c-{i}" for i in range(12)] + ["", "żółć", "😀" * 60, "c-1 "]
names = st.lists(st.sampled_from(NAMES), max_size=20)


def texts(these: list[str]) -> pa.StringArray:
    # A slice, as columns of a table may be one.
    return pa.array(["before", *these, "after"], pa.string()).slice(1, len(these))


@given(st.lists(st.tuples(names, names, names, st.booleans()), max_size=12))
@settings(deadline=None, max_examples=40)
def test_numbers_are_those_of_the_table(steps: list[tuple[list[str], list[str], list[str], bool]]) -> None:
    known, of, last = Known(), dict[str, int](), 0
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE customers (customer_id INTEGER, customer VARCHAR)")
        for asked, coming, going, forgetting in steps:
            found = known.find(connection, texts(asked))
            assert found.tolist() == [of.get(name, UNKNOWN) for name in asked]
            new = [name for name in dict.fromkeys(coming) if name not in of]
            numbers = range(last + 1, last + 1 + len(new))
            last += len(new)
            of |= dict(zip(new, numbers, strict=True))
            known.add(texts(new), np.array(numbers, np.int32))
            gone = [name for name in dict.fromkeys(going) if of.pop(name, None) is not None]
            known.remove(texts(gone))
            if forgetting:
                connection.execute("DELETE FROM customers")
                for name, number in of.items():
                    connection.execute("INSERT INTO customers VALUES (?, ?)", [number, name])
                known.clear()


def test_an_empty_table_is_read_once() -> None:
    known = Known()
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE customers (customer_id INTEGER, customer VARCHAR)")
        assert known.find(connection, texts(["anna"])).tolist() == [UNKNOWN]
        # Who reads the table again would find her.
        connection.execute("INSERT INTO customers VALUES (1, 'anna')")
        assert known.find(connection, texts(["anna"])).tolist() == [UNKNOWN]


def test_only_the_texts_of_a_slice_are_copied() -> None:
    for these in (["anna", "", "żółć"], [""], []):
        found = _packed(texts(these))
        assert list(found) == [each.encode() for each in these]
        assert found.text == "".join(these).encode() + AFTER
