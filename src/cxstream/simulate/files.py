"""Records to a file: NDJSON, plain or compressed by the name's ending."""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from cxstream.model.errors import InputError
from cxstream.private_files import draft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cxstream.simulate.stream import Simulation

_GZIP_LEVEL = 3


def write(simulation: Simulation, path: Path, progress: Callable[[int], None]) -> None:
    """Write all records of the simulation, one a line; the file gets its name when it is whole.

    Args:
        simulation: of a plan that ends.
        path: NAME.ndjson, NAME.ndjson.gz or NAME.ndjson.zst.
        progress: called with the number of records just written.

    Raises:
        InputError: the file cannot be written, or nothing here can compress it.
    """
    unfinished = None
    try:
        # These customers are invented: who may read the file is up to the umask.
        raw, unfinished = draft(path, private=False)
        with raw, _packed(raw, path.suffix) as file:
            for block in simulation.blocks():
                file.write(b"\n".join(block.values) + b"\n" if block.values else b"")
                simulation.tally.add(block.rows)
                progress(len(block.values))
        unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _packed(raw: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    if suffix == ".gz":
        # Neither a name nor a time in the header: the same records give the same file.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
            yield cast("IO[bytes]", file)
    elif suffix == ".zst":
        with _zstandard(raw) as file:
            yield file
    else:
        yield raw


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise InputError("writing .zst needs the extra 'files': pip install 'cxstream[files]'") from error
    writer: IO[bytes] = zstandard.ZstdCompressor().stream_writer(raw, closefd=False)
    return writer
