"""Records to a file: NDJSON, plain or compressed by the name's ending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.files.outputs import created

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.simulate.stream import Simulation


def write(simulation: Simulation, path: Path, progress: Callable[[int], None]) -> None:
    """Write all records of the simulation, one a line; the file gets its name when it is whole.

    Args:
        simulation: of a plan that ends.
        path: NAME.ndjson, NAME.ndjson.gz, NAME.ndjson.zst, or `-` for standard output.
        progress: called with the number of records just written.

    Raises:
        OutputError: the file cannot be written.
        InputError: nothing here can compress it.
    """
    # These customers are invented: who may read the file is up to the umask.
    with created(path, private=False) as file:
        for block in simulation.blocks():
            file.write(b"\n".join(block.values) + b"\n" if block.values else b"")
            simulation.tally.add(block.rows)
            progress(len(block.values))
