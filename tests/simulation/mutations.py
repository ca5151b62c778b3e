"""Broken workers, each by a line or two, that the simulation must find out: one that cannot fail proves nothing.

A mutation names a function and replaces text in it. If the text is not there any more, the mutation has to be
written anew, and says so.
"""

from __future__ import annotations
import __future__ as futures

import contextlib
import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to break it.

    Attributes:
        name: what is wrong then.
        where: module:function or module:Class.function.
        changes: pairs of what stands there and what stands there instead.
        seeds: within how many it must be found.
        first: a seed that found it before, tried before the others: another change may make it miss.
        worker: settings of the workers that are not left to the seed.
    """

    name: str
    where: str
    changes: tuple[tuple[str, str], ...]
    seeds: int = 100
    first: int = 0
    worker: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> Iterator[int]:
        """The seeds in the order in which to try them."""
        return chain((self.first,), (seed for seed in range(self.seeds) if seed != self.first))


_PARTITION = "cxstream.worker.ownership.partition:Partition."
_TENURE = "cxstream.worker.ownership.session:OwnershipSession."
_RESTORE = "cxstream.worker.ownership.restore:"
_OUTBOX = "cxstream.worker.ownership.outbox:"
_SAVING = "cxstream.worker.ownership.saving:"
# Takeovers of a warm copy between two snapshots are rare where the seed decides.
_WARM = {
    "standby": True,
    "snapshot_seconds": 1.0,
    "flush_seconds": 0.1,
    "cards_per_flush": 20_000,
    "session_seconds": 1.5,
    "stop_seconds": 0.2,
}
# Many snapshots, so that one is often under way.
_SAVES = {"snapshot_seconds": 0.3, "flush_seconds": 0.1, "flush_records": 20}

MUTATIONS = (
    Mutation(
        "saved state goes on under the rules of the settings",
        "cxstream.scoring.state.snapshot:_timeline",
        (("if not marker.has_rules:", "if True:"),),
        first=2,
    ),
    Mutation(
        "a record whose processing failed is forgotten by the saved state",
        "cxstream.scoring.state.passed_over:Passed.take_changed",
        (("taken = list(self._rows(self.changed))", "taken = []"),),
        first=4,
    ),
    Mutation(
        "the committed offset and the state are read before the claim",
        _PARTITION + "_own",
        (
            (
                "producer = await self._kafka.claim(self.number)",
                """claim = await self._kafka.confirm()
    async with self._kafka.reader(self.number) as reader:
        inherited = await succeed(self._settings, self._kafka, claim, self.number, reader)
        early = await self._restored(None, None, reader, parked, claim.owner, inherited)
    producer = early._producer = await self._kafka.claim(self.number)""",
            ),
            ("saver = await self._kafka", "saver = early._saver = await self._kafka"),
            ("await self._restored(producer, saver, reader, parked, claim.owner, inherited)", "early"),
        ),
        first=4,
    ),
    Mutation(
        "Kafka does not fence",
        "simulation.broker:Broker.claim",
        (("identity.epoch += 1", "identity.epoch = max(0, identity.epoch)"),),
        first=17,
    ),
    Mutation(
        "a fenced worker goes on as if it had a right to",
        "simulation.broker:Broker._of",
        (("if identity.epoch != epoch:", "if identity.epoch < epoch:"),),
        first=12,
    ),
    Mutation(
        "records from the snapshot to the committed offset are not applied again",
        _RESTORE + "replay",
        (("engine.process(batch)", "engine.process(batch.__class__([], []))"),),
        first=4,
    ),
    Mutation(
        "what was committed after the snapshot is said again",
        _RESTORE + "restore",
        (("position = max(engine.next_offset, committed or 0)", "position = engine.next_offset"),),
        first=4,
    ),
    Mutation(
        "a state in memory is used again after its commit failed",
        _PARTITION + "_own",
        (
            (
                "self._session.abandon()",
                """self._session.abandon()
            self._parked = Restored(self._session.engine, self._session.position, saved=True, problem="")""",
            ),
        ),
        # Few seeds meet it.
        seeds=200,
        first=41,
    ),
    Mutation(
        "the committed offset is one too low",
        _TENURE + "_apply",
        (("records[-1].offset + 1", "records[-1].offset"),),
    ),
    Mutation(
        "the committed offset is one too high",
        _TENURE + "_apply",
        (("records[-1].offset + 1", "records[-1].offset + 2"),),
    ),
    Mutation(
        "the offset is that of when the transaction runs, not of its results",
        _TENURE + "_commit",
        (("offset=offset", "offset=self.position"),),
    ),
    Mutation(
        "the rows of a snapshot are taken later than its offset",
        _TENURE + "_start",
        (
            (
                "taken = self.engine.begin_snapshot()",
                "taken, soon = None, asyncio.get_running_loop().call_soon",
            ),
            (
                "outbox.add_snapshot(taken)",
                "soon(lambda: outbox.add_snapshot(self.engine.begin_snapshot()))",
            ),
            (
                "self._save(taken, self._flushing)",
                "soon(lambda: self._save(self.engine.begin_snapshot(), self._flushing))",
            ),
        ),
    ),
    Mutation(
        "a snapshot is saved before the results up to its offset are committed",
        _SAVING + "Saving._write",
        (("await asyncio.wait([results])", ""), ("if results.cancelled() or", "if False and")),
    ),
    Mutation(
        "a snapshot that may not wait overtakes the one under way",
        _TENURE + "_commit",
        (("await before.finish()", "pass"),),
        worker=_SAVES,
    ),
    Mutation(
        "a snapshot is written in several transactions",
        _SAVING + "Saving._pause",
        (
            (
                "if self._paused",
                "await self._producer.commit_transaction()\n    await self._producer.begin_transaction()\n    if self._paused",
            ),
        ),
        worker=_SAVES,
    ),
    Mutation(
        "the results of a flush are kept for the next one",
        _TENURE + "_start",
        (
            (
                "outbox, self._outbox = self._outbox, self._new_outbox()",
                "outbox = self._outbox",
            ),
        ),
    ),
    Mutation(
        "a transaction that failed counts as committed",
        _TENURE + "_settle",
        (("await flushing", "await asyncio.wait([flushing])"),),
        first=5,
    ),
    Mutation(
        "a commit of unknown outcome counts as one that succeeded",
        _OUTBOX + "commit",
        (
            (
                "await producer.commit_transaction()",
                "await asyncio.wait([asyncio.ensure_future(producer.commit_transaction())])",
            ),
        ),
        first=16,
    ),
    Mutation(
        "closing does not wait for the transaction under way",
        _TENURE + "finish",
        (("await self._settle()\n    if self._outbox:", "if self._outbox:"),),
        first=3,
    ),
    Mutation(
        "the offset is not part of the transaction",
        _OUTBOX + "commit",
        (("await producer.send_offsets_to_transaction(", "print if True else ("),),
        seeds=10,
    ),
    Mutation(
        "a batch that does not fit is sent without asking what became of it",
        _OUTBOX + "write",
        (
            (
                "await send(batch, first, stop)",
                "await (send(batch, first, stop) if stop == len(rows) else producer.send_batch(batch, tp[0], partition=tp[1]))",
            ),
        ),
        first=11,
    ),
    Mutation(
        "what a warm copy has that is not saved yet is never saved",
        "cxstream.worker.ownership.standby:Standby.take",
        (("if self._unsaved is not None:", "if False:"),),
        seeds=600,
        first=80,
        worker=_WARM,
    ),
    Mutation(
        "holes in the feed are not noticed",
        _PARTITION + "_work",
        (("if fetch.follows is None or fetch.follows != fed:", "if fetch.follows is None:"),),
    ),
    Mutation(
        "records that come again are applied again",
        _PARTITION + "_apply",
        (("if records[0].offset < session.position:", "if False:"),),
        first=3,
    ),
    Mutation(
        "how far requests to be erased were read is not committed",
        _OUTBOX + "commit",
        (("in outbox.taken.items():", "in ():"),),
        seeds=10,
    ),
    Mutation(
        "requests are written after the transaction that says they were read",
        _OUTBOX + "commit",
        (
            (
                "for each in forwards] + outbox.requests\n",
                "for each in forwards]\n",
            ),
            (
                "await producer.commit_transaction()",
                """await producer.commit_transaction()
    await producer.begin_transaction()
    for target in range(partitions):
        await write(producer, TOUCHPOINTS.contract, (touchpoints, target), outbox.requests, (), (), compress=True)
    await producer.commit_transaction()""",
            ),
        ),
    ),
    Mutation(
        "requests are read from the beginning by every owner",
        _PARTITION + "_listen",
        (("await reader.committed(topic)", "None"),),
    ),
    Mutation(
        "requests count as read one too far",
        _TENURE + "forward",
        (("records[-1].offset + 1", "records[-1].offset + 2"),),
    ),
    Mutation(
        "requests go into the partition that they came from, and no other",
        _OUTBOX + "commit",
        (("+ outbox.requests\n", "+ (outbox.requests if target == partition else [])\n"),),
    ),
    Mutation(
        "misrouted records are dropped",
        _OUTBOX + "Outbox.add",
        (("for stray in outcome.misrouted:", "for stray in ():"),),
    ),
    Mutation(
        "misrouted records go into the partition that they came from",
        _OUTBOX + "Outbox.add",
        (("self.forwards[stray.partition]", "self.forwards[partition]"),),
    ),
    Mutation(
        "misrouted records are scored where they are",
        "cxstream.scoring.state.partition:PartitionState._elsewhere",
        (("if self.count is None:", "if True:"),),
    ),
    Mutation(
        "misrouted records are not forwarded with the headers that they came with",
        _OUTBOX + "Outbox.add",
        (("headers = [*record.headers, ", "headers = ["),),
    ),
    Mutation(
        "misrouted records are forwarded in a transaction of their own",
        _OUTBOX + "commit",
        (
            (
                "    await producer.send_offsets_to_transaction(",
                """    await producer.commit_transaction()
    await producer.begin_transaction()
    await producer.send_offsets_to_transaction(""",
            ),
        ),
    ),
    Mutation(
        "a record of cx.forget that asks for nothing is dropped in silence",
        _TENURE + "forward",
        (("outbox.add_rejected(record, place, *request)", "pass"),),
    ),
    Mutation(
        "requests are taken into a transaction that is under way already",
        _TENURE + "forward",
        (
            (
                "outbox, now_ms = self._outbox,",
                "outbox, self._before = getattr(self, '_before', self._outbox), self._outbox; now_ms =",
            ),
        ),
        # Between the two lines a transaction must begin.
        worker={"flush_seconds": 0.1, "flush_records": 5},
    ),
    Mutation(
        "receipts are not written",
        _OUTBOX + "Outbox.add",
        (("in outcome.rows", "in outcome.signals"),),
    ),
    Mutation(
        "who is erased stays in the saved state until the next snapshot",
        _TENURE + "_snapshot_due",
        (("self.engine.must_save or", "False or"),),
    ),
    Mutation(
        "who was erased is not in the saved state",
        "cxstream.scoring.state.snapshot:save",
        (("for key, time in erasures.take_changed()", "for key, time in ()"), ("len(erasures.times)", "0")),
        first=2,
    ),
)


@contextlib.contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """Have a mutation in place."""
    module_name, _, path = mutation.where.partition(":")
    module = importlib.import_module(module_name)
    *outer, name = path.split(".")
    owner: Any = getattr(module, outer[0]) if outer else module
    original = vars(owner)[name]
    mutant = _rewritten(module, original, mutation)
    holders = [owner] if outer else _holders(name, original)
    with contextlib.ExitStack() as stack:
        for holder in holders:
            stack.enter_context(patch.object(holder, name, mutant))
        yield


def _rewritten(module: Any, original: Any, mutation: Mutation) -> Any:
    source = textwrap.dedent(inspect.getsource(original))
    for old, new in mutation.changes:
        if source.count(old) != 1:
            raise LookupError(
                f"{mutation.where} has {old!r} {source.count(old)} times: rewrite {mutation.name!r}"
            )
        source = source.replace(old, new)
    names: dict[str, Any] = {}
    code = compile(source, mutation.where, "exec", futures.annotations.compiler_flag, dont_inherit=True)
    exec(code, vars(module), names)
    return names[original.__name__]


def _holders(name: str, function: Any) -> list[Any]:
    """Modules that know a function, under its own name."""
    return [
        module
        for key, module in list(sys.modules.items())
        if key.startswith("cxstream.") and getattr(module, name, None) is function
    ]
