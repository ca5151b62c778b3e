"""The kinds of faults, in the order in which they are run."""

from faults.kinds import brokers, records, network, storage, workers
from faults.run import Kind

KINDS: tuple[Kind, ...] = (
    *workers.KINDS,
    *brokers.KINDS,
    *network.KINDS,
    *storage.KINDS,
    *records.KINDS,
)
