"""The kinds of faults, in the order in which they are run."""

from faults.kinds import brokers, network, records, storage, workers
from faults.run import Kind

KINDS: tuple[Kind, ...] = (
    *workers.KINDS,
    *brokers.KINDS,
    *network.KINDS,
    *storage.KINDS,
    *records.KINDS,
)
