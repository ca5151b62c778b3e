"""The kinds of faults, in the order in which they are run."""

from faults.kinds import brokers, hostile, network, records, state, storage, workers
from faults.run import Kind

KINDS: tuple[Kind, ...] = (
    *workers.KINDS,
    *state.KINDS,
    *brokers.KINDS,
    *network.KINDS,
    *storage.KINDS,
    *records.KINDS,
    *hostile.KINDS,
)
