"""What is loaded before the first record of a replay is read."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from cxstream.replay.warm import ARROW, PARQUET, formats_of

if TYPE_CHECKING:
    from pathlib import Path

LOADED = """
import sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher

loaded, load = [], Dispatcher._compile_for_args
def loading(self, *args, **options):
    loaded.append(self.__name__)
    return load(self, *args, **options)
Dispatcher._compile_for_args = loading

from cxstream.files.readers import read_batches
from cxstream.model.parameters import ScoringParams
from cxstream.replay.warm import warm_up
from cxstream.scoring.router import Router

path, router = Path(sys.argv[1]), Router(ScoringParams(), {})
warm_up(router, [path])
before, modules = len(loaded), set(sys.modules)
for chunk in read_batches([path]):
    router.process(chunk.lines, None, chunk.cut)
print(*loaded[before:], *sorted(name for name in set(sys.modules) - modules if name.startswith(("pyarrow", "cxstream"))))
"""


def write(path: Path, customers: int = 7) -> Path:
    n = max(50, customers)
    table = pa.table(
        {
            "specversion": ["1.0"] * n,
            "id": [str(i) for i in range(n)],
            "source": ["/s"] * n,
            "type": ["cx.touchpoint.click.v1"] * n,
            "subject": [f"customer-{i % customers}" for i in range(n)],
            "time": [f"2026-01-01T00:00:{i % 60:02}Z" for i in range(n)],
            "data": [{"channel": "web", "touchpoint": f"t{i % 3}", "x": i % 50, "y": None} for i in range(n)],
        }
    )
    if path.suffix == PARQUET:
        coded = ["type", "source", "data.touchpoint", *(["subject"] if customers > 7 else [])]
        pq.write_table(table, path, compression="zstd", use_dictionary=coded)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


@pytest.mark.parametrize(("form", "customers"), [(PARQUET, 7), (PARQUET, 1500), (ARROW, 7)])
def test_nothing_is_loaded_for_the_first_record_of_columns(tmp_path: Path, form: str, customers: int) -> None:
    """A replay of a million rows took a tenth of its time for libraries and machine code."""
    path = write(tmp_path / f"events{form}", customers)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == []


def test_the_formats_of_inputs_are_told_without_taking_anything_from_a_pipe(tmp_path: Path) -> None:
    lines = tmp_path / "events.ndjson"
    lines.write_text("{}\n")
    assert formats_of([lines, tmp_path / "missing"]) == set()
    found = [write(tmp_path / f"events{form}") for form in (PARQUET, ARROW)]
    assert formats_of([lines, *found]) == {PARQUET, ARROW}
