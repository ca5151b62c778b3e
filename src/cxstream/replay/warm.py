"""Machine code is loaded before the first record is read, so that the time of a replay is that of its records."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson

from cxstream.files import streams
from cxstream.files.lines import split
from cxstream.files.readers import read_batches
from cxstream.model.parameters import ScoringParams
from cxstream.replay.order import Order
from cxstream.scoring.cards import merged
from cxstream.scoring.failing import SOUND
from cxstream.scoring.outcomes import together
from cxstream.scoring.router import Router
from cxstream.scoring.shares import Share

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cxstream.files.lines import Records


PARQUET, ARROW = ".parquet", ".arrow"


def formats_of(paths: Sequence[Path]) -> set[str]:
    """Those of PARQUET and ARROW that some inputs have; pipes are not looked at, since looking is taking."""
    found = set()
    for path in paths:
        if path.is_file():
            with streams.opened(path) as source:
                if streams.is_parquet(source, path):
                    found.add(PARQUET)
                elif streams.is_arrow(source, path):
                    found.add(ARROW)
    return found


def warm_up(router: Router, paths: Sequence[Path] = (), *, jobs: int = 1) -> None:
    """Score records that are known to be sound, in a separate state; no result is written.

    Args:
        router: as it will score.
        paths: the inputs; columns have libraries and machine code of their own.
        jobs: how many processes are to do so, if there are several.
    """
    # If it fails, the records of the replay do, too, and what is wrong is said of them.
    with suppress(Exception):
        other = router.empty_copy()
        for records in split([b"\n".join(SOUND)], 1 << 20, router.max_record_bytes):
            outcome = other.process(records.lines)
            if outcome.fates is not None:
                Order(router.params.window_days).add(outcome.fates, lambda _: (Path(), 0))
            if jobs > 1:
                _share(router, jobs, records)
        for _ in other.card_blocks():
            pass
        _columns(router, formats_of(paths))


def _columns(router: Router, formats: Collection[str]) -> None:
    """Score the same records out of files of columns."""
    if not formats:
        return
    import pyarrow as pa
    from pyarrow import parquet

    from cxstream.files.parquet_pages import MOST_WORDS

    other = router.empty_copy()
    # More customers than a dictionary has whose words are looked up once.
    events = [orjson.loads(record) for record in SOUND] * (MOST_WORDS // len(SOUND) + 1)
    # One column of each kind that is read in its own way.
    data = pa.struct({"channel": pa.string(), "x": pa.int64(), "hashtags": pa.list_(pa.string())})
    columns: dict[str, Any] = {name: [event[name] for event in events] for name in events[0]}
    columns["subject"] = [str(i) for i in range(len(events))]
    table = pa.table({**columns, "data": pa.array(columns["data"], data)})
    with TemporaryDirectory(prefix="cxstream-") as folder:
        for form in formats:
            path = Path(folder, "sound" + form)
            if form == PARQUET:
                parquet.write_table(table, path, compression="zstd", use_dictionary=["type", "subject"])
            else:
                with pa.ipc.new_file(path, table.schema) as file:
                    file.write_table(table)
            for chunk in read_batches([path]):
                other.process(chunk.lines, None, chunk.cut)


def compile_replay() -> None:
    """Compile what a replay needs, so that an installation that nobody can write to has it."""
    # Where there are as many partitions as processes, these share none.
    for partitions in (1, 3):
        warm_up(Router(ScoringParams(), {}, partitions=partitions), jobs=2)
    _columns(Router(ScoringParams(), {}), (PARQUET, ARROW))


def _share(router: Router, jobs: int, records: Records) -> None:
    """Score records as several processes do, so that none of these loads what another one has."""
    shares = [Share(router.empty_copy(), number, jobs) for number in range(jobs)]
    reading = shares[0].read(records.lines)
    together([share.score_all(reading, None, 0)[0] for share in shares])
    for _ in merged([share.router.named_card_blocks() for share in shares]):
        pass
