"""Sorting in bounded memory: whatever the memory, the result is that of a stable sort."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.files import spill
from cxstream.files.spill import Sorter
from cxstream.model.errors import OutputError

records = st.lists(st.tuples(st.integers(-4, 4) | st.integers(-(2**62), 2**62), st.binary(max_size=40)))


def add_all(sorter: Sorter, items: list[tuple[int, bytes]], step: int) -> None:
    for first in range(0, len(items), step):
        part = items[first : first + step]
        keys = np.array([key for key, _ in part], np.int64)
        sorter.add(keys, np.arange(first, first + len(part)), [value for _, value in part])


def result(sorter: Sorter) -> list[tuple[int, int, bytes]]:
    return [
        item
        for batch in sorter.merged()
        for item in zip(batch.keys.tolist(), batch.marks.tolist(), batch.values, strict=True)
    ]


@settings(deadline=None)
@given(records, st.integers(1, 7), st.sampled_from([1, 200, 900, 1 << 20]), st.sampled_from([1, 60, 1 << 17]))
def test_it_is_a_stable_sort(
    items: list[tuple[int, bytes]], step: int, memory_bytes: int, block_bytes: int
) -> None:
    # Tiny memory and blocks: many runs, several passes, blocks of one record.
    with pytest.MonkeyPatch.context() as patch, Sorter(memory_bytes) as sorter:
        patch.setattr(spill, "_BLOCK_BYTES", block_bytes)
        add_all(sorter, items, step)
        expected = [(key, mark, value) for mark, (key, value) in enumerate(items)]
        expected.sort(key=lambda item: item[0])
        assert result(sorter) == expected


def test_what_fits_into_memory_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(spill, "_Spill", refuse)
    with Sorter(1 << 20) as sorter:
        add_all(sorter, [(i % 7, b"x" * 100) for i in range(1000)], 100)
        assert len(result(sorter)) == 1000


def opened_in(folder: Path) -> list[Path]:
    """What this process has open there."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            if str(folder) in str(fd.readlink()):
                found.append(fd)
        except FileNotFoundError:
            continue  # what listed the folder
    return found


def test_the_file_has_no_name_and_is_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Sorter(1000) as sorter:
        add_all(sorter, [(-i, b"x" * 100) for i in range(3000)], 10)
        [ours] = opened_in(tmp_path)
        assert stat.S_IMODE(ours.stat().st_mode) == 0o600
        assert list(tmp_path.iterdir()) == []
        assert [key for key, _, _ in result(sorter)] == list(range(-2999, 1))
    assert opened_in(tmp_path) == []


@pytest.mark.parametrize("at", ["open", "write"])
def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def full(*_: object, **__: object) -> object:
        if at == "open":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with Sorter(1000) as sorter, pytest.raises(OutputError, match=r"No space left on device.*TMPDIR") as told:
        add_all(sorter, [(i, b"x" * 100) for i in range(100)], 10)
    assert str(told.value).startswith(str(tmp_path))
    assert "\n" not in str(told.value)
