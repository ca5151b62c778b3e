"""Several processes that score an input together, each the customers of its own.

    each process    every n-th piece of the input -> decoded -> shared memory
    each process    all pieces, in order          -> Share.score -> Part, through a pipe to the first process
    first process   parts of all                  -> Outcome, as of one process that scores alone

The first process forks the others before it reads anything. They wait for each other in pipes: a process tells that it has shared a
piece, and that it needs one no more. Whatever fails in one of them ends all, and what was written is dropped.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
from collections import Counter
from itertools import accumulate
from multiprocessing import get_context
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from cxstream.files.lines import Records
from cxstream.files.pieces import Pieces, are_lines
from cxstream.files.readers import BATCH_BYTES, Chunk
from cxstream.model.errors import CxstreamError
from cxstream.replay.ring import SLOTS, Ring, Shared, Texts
from cxstream.scoring.cards import merged
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.distribution import levels
from cxstream.scoring.outcomes import together
from cxstream.scoring.shares import NotSharedError, Share
from cxstream.scoring.slices import joined_frames, joined_slices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess
    from pathlib import Path

    from cxstream.files.pieces import Piece, Read
    from cxstream.scoring.engine import Fates, Outcome
    from cxstream.scoring.outcomes import Part
    from cxstream.scoring.router import Router
    from cxstream.scoring.shares import Reading
    from cxstream.scoring.slices import Frame, Slice

# Of some 1,000 score cards.
_CARDS_BYTES = 4 << 20
_MORE_BYTES = 1 << 16
_WAIT_MS = 500
# Messages: a piece is shared, a piece is needed no more, score cards are needed no more.
_SHARED, _FREE, _TAKEN = 0, 1, 2
_MESSAGE = Struct("<BI")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TeamError(CxstreamError):
    """A process of a replay has ended early."""


def can_share(paths: Sequence[Path], jobs: int, batch_bytes: int) -> bool:
    """Whether several processes can score these inputs: files of JSON lines that are worth it, on Linux."""
    if jobs == 1 or not sys.platform.startswith("linux") or not are_lines(paths, batch_bytes):
        return False
    return sum(path.stat().st_size for path in paths) > batch_bytes


class _Told(NamedTuple):
    """A piece of the input, or several, as a process needs it.

    Attributes:
        frame: of its records.
        mine: those that the process scores; None where it must read the piece itself.
        records: lines are counted from the beginning of the piece.
        lines: how many lines it has.
        piece: the last one.
    """

    frame: Frame | None
    mine: Slice | None
    records: Records
    lines: int
    piece: Piece


def _together(some: Sequence[_Told]) -> _Told:
    """Several pieces as one."""
    frames = [one.frame for one in some if one.frame is not None]
    slices = [one.mine for one in some if one.mine is not None]
    frame, begins = joined_frames(frames), accumulate((one.lines for one in some), initial=0)
    lines = sum(one.lines for one in some)
    numbers: Sequence[int] = range(1, lines + 1)
    if len(frame.lines) < lines:
        moved = (_moved(one.records.numbers, begin) for one, begin in zip(some, begins, strict=False))
        numbers = [number for each in moved for number in each]
    held: Sequence[Any] = frame.lines
    return _Told(frame, joined_slices(slices, frames), Records(held, numbers), lines, some[-1].piece)


def _moved(numbers: Sequence[int], by: int) -> Sequence[int]:
    if isinstance(numbers, range):
        return range(numbers.start + by, numbers.stop + by)
    return [number + by for number in numbers]


class _Member:
    """One of the processes, as all of them are."""

    def __init__(
        self, share: Share, number: int, pieces: Pieces, rings: Sequence[Ring], boxes: Sequence[tuple[int, int]]
    ) -> None:  # fmt: skip
        self._share, self._number, self._pieces, self._rings, self._boxes = (
            share,
            number,
            pieces,
            rings,
            boxes,
        )
        self._count = len(rings)
        self._own: dict[int, _Told] = {}
        self._next = number
        self._shared: set[int] = set()
        self._freed: Counter[tuple[int, int]] = Counter()
        self._poll = select.poll()
        self._poll.register(boxes[number][0], select.POLLIN)

    def told(self) -> Iterator[_Told]:
        """All of the input, in order; of each piece one process has read what the others need."""
        # A process has one n-th of the records of a piece, and batches of few records take longer: so many pieces together.
        for group in self._pieces.groups(self._count):
            # What comes next is there before the others ask for it.
            while self._next < min(group.stop + self._count, len(self._pieces)):
                self._read_next()
            some = [self._get(i) for i in group]
            if all(one.frame is not None and self._share.knows(one.frame) for one in some):
                yield _together(some)
            else:
                yield from some
            for i in group:
                if i % self._count != self._number:
                    self._tell(i % self._count, _FREE, i)

    def score(self, told: _Told, limit: int | None, grace: int) -> tuple[Part, Fates]:
        """See `Share.score`."""
        if told.frame is not None and told.mine is not None and self._share.knows(told.frame):
            return self._share.score(told.frame, told.mine, limit, grace)
        lines = told.records.lines
        reading = self._share.read(lines if isinstance(lines, Packed) else list(lines), told.records.cut)
        return self._share.score_all(reading, limit, grace)

    def _get(self, i: int) -> _Told:
        owner = i % self._count
        if owner == self._number:
            return self._own.pop(i)
        while i not in self._shared:
            self._take()
        self._shared.remove(i)
        shared = self._rings[owner].read(i // self._count, self._number)
        if shared is None:
            found = self._read(i)
            return _Told(None, None, found.records, found.lines, self._pieces[i])
        lines = self._pieces.some(i, shared.begins, shared.ends)
        numbers = range(1, len(lines) + 1) if shared.numbers is None else shared.numbers
        records, frame = Records(lines, numbers), shared.frame._replace(lines=lines)
        return _Told(frame, shared.slices[0], records, shared.lines, self._pieces[i])

    def _read(self, i: int) -> Read:
        found = self._pieces.read(i)
        if found is None:
            raise NotSharedError("a line is too long, there are too many, or the file has changed")
        return found

    def _read_next(self) -> None:
        i = self._next
        before = _FREE, i - SLOTS * self._count
        while before[1] >= 0 and self._freed[before] < self._count - 1:
            self._take()
        del self._freed[before]
        found = self._read(i)
        reading = self._share.read(found.records.lines, found.records.cut)
        told = _Told(None, None, found.records, found.lines, self._pieces[i])
        if self._rings[self._number].write(i // self._count, self._shared_of(reading, found)):
            assert reading.slices is not None  # noqa: S101  # it is shared
            told = told._replace(frame=reading.frame, mine=reading.slices[self._number])
        self._own[i] = told
        for other in range(self._count):
            if other != self._number:
                self._tell(other, _SHARED, i)
        self._next += self._count

    def _shared_of(self, reading: Reading, found: Read) -> Shared | None:
        """What the others need of a piece; None where they must read it."""
        records, lines = found.records, found.records.lines
        if reading.slices is None or found.at is None or not isinstance(lines, Packed) or records.cut:
            return None
        slices = [None if i == self._number else one for i, one in enumerate(reading.slices)]
        numbers = None if isinstance(records.numbers, range) else list(records.numbers)
        return Shared(
            reading.frame, slices, lines.begins + found.at, lines.ends + found.at, numbers, found.lines
        )

    def _tell(self, other: int, what: int, i: int) -> None:
        os.write(self._boxes[other][1], _MESSAGE.pack(what, i))

    def _take(self) -> None:
        """Take a message, as soon as there is one."""
        while not self._poll.poll(_WAIT_MS):
            self.require_others()
        what, i = _MESSAGE.unpack(os.read(self._boxes[self._number][0], _MESSAGE.size))
        if what == _SHARED:
            self._shared.add(i)
        else:
            self._freed[what, i] += 1

    def require_others(self) -> None:
        """Go on waiting only while there is somebody to wait for."""
        raise NotImplementedError


class _Other(_Member):
    """A process that was forked; it sends what it finds to the first one."""

    def __init__(self, first: int, to: Connection, texts: Texts, *given: Any) -> None:
        super().__init__(*given)
        self._first, self._to, self._texts = first, to, texts

    def require_others(self) -> None:
        """See there."""
        if os.getppid() != self._first:
            os._exit(1)

    def run(self, limit: int | None, grace: int, until: int | None) -> None:
        """Score everything and send it."""
        for told in self.told():
            part, _ = self.score(told, limit, grace)
            self._send(part)
        if until is not None:
            self._send(self._share.advance(until))
        self._send([levels(engine) for engine in self._share.router.engines])
        for i, (names, cards) in enumerate(self._share.router.named_card_blocks()):
            while i >= SLOTS and not self._freed[_TAKEN, i - SLOTS]:
                self._take()
            fits = self._texts.write(i, cards.text)
            self._send((names, len(cards.text) if fits else cards.text, cards.begins, cards.ends))
        self._send(None)

    def _send(self, what: object) -> None:
        self._to.send_bytes(pickle.dumps(what, pickle.HIGHEST_PROTOCOL))

    def fail(self, error: Exception) -> None:
        """Say why it ends."""
        self._send(NotSharedError(f"{type(error).__name__}: {error}"))


class Team(_Member):
    """The processes, as the first one has them. A context manager: the others run within.

    Args:
        router: engines that have seen nothing yet.
        paths: the inputs, see `can_share`.
        jobs: how many processes, this one included.
        batch_bytes: about how much one process that scores alone would read at a time.
        limit: ms UTC; later events are from the future; None for no limit.
        grace: how much of `limit` is for clocks that are wrong, ms.
        until: ms UTC, where every clock ends; None: where the records end.
    """

    def __init__(
        self,
        router: Router,
        paths: Sequence[Path],
        jobs: int,
        *,
        batch_bytes: int,
        limit: int | None,
        grace: int,
        until: int | None,
    ) -> None:
        # Of valid lines a larger piece has more than come at a time.
        batch_bytes = min(batch_bytes, BATCH_BYTES)
        pieces = Pieces(paths, batch_bytes, router.max_record_bytes)
        self._leave = contextlib.ExitStack()
        try:
            # What is read of lines takes less than they do.
            rings = [Ring(batch_bytes + _MORE_BYTES) for _ in range(jobs)]
            self._texts = [Texts(_CARDS_BYTES) for _ in range(1, jobs)]
            boxes = [self._box() for _ in range(jobs)]
        except OSError as error:  # no memory to share, or too many files are open
            self._leave.close()
            raise NotSharedError(str(error)) from error
        self._router, self._limit, self._grace, self._until = router, limit, grace, until
        super().__init__(Share(router, 0, jobs), 0, pieces, rings, boxes)
        self._others: list[tuple[ForkProcess, Connection]] = []

    def _box(self) -> tuple[int, int]:
        box = os.pipe()
        for end in box:
            self._leave.callback(os.close, end)
        return box

    def __enter__(self) -> Self:
        with self._leave as leave:
            try:
                leave.enter_context(self._pieces)
                leave.callback(self._end)
                for number in range(1, self._count):
                    self._fork(number)
            except OSError as error:  # no more processes, or too many files are open
                raise NotSharedError(str(error)) from error
            self._leave = leave.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.close()

    def _fork(self, number: int) -> None:
        context = get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        first = os.getpid()
        process = context.Process(target=self._run, args=(number, first, ours, theirs), daemon=True)
        # Until it takes no notice of them, they wait.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
            self._others.append((process, ours))
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self, number: int, first: int, ours: Connection, to: Connection) -> None:
        """What a forked process does; it never returns."""
        code = 1
        try:
            # Only the first process may hold these ends of the pipes: once it has ended, sending fails, and this one ends.
            for each in (ours, *(other for _, other in self._others)):
                each.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            share = Share(self._router, number, self._count)
            other = _Other(
                first, to, self._texts[number - 1], share, number, self._pieces, self._rings, self._boxes
            )
            try:
                other.run(self._limit, self._grace, self._until)
                code = 0
            except Exception as error:  # noqa: BLE001 - the first process says it, or scores alone
                other.fail(error)
        finally:
            os._exit(code)

    def _end(self) -> None:
        for process, ours in self._others:
            process.kill()
            process.join()
            process.close()
            ours.close()
        self._others.clear()

    def require_others(self) -> None:
        """See there.

        Raises:
            NotSharedError: a process says that the input must be scored by one.
            TeamError: a process ended early.
        """
        for process, ours in self._others:
            if not process.is_alive() and process.exitcode:
                # What it sent last says why; the end of its pipe says that it was killed.
                while True:
                    self._received(process, ours)

    @staticmethod
    def _ended(process: ForkProcess) -> TeamError:
        process.join()
        code = process.exitcode or 0
        why = f"by signal {-code}" if code < 0 else f"with status {code}"
        return TeamError(
            f"a process of --jobs ended early, {why}: if memory ran out, use fewer --jobs; no results were written"
        )

    def _received(self, process: ForkProcess, ours: Connection) -> Any:
        while not ours.poll(_WAIT_MS / 1000):
            # Who is to send may wait for a process that has ended.
            self.require_others()
        try:
            found = pickle.loads(ours.recv_bytes())  # noqa: S301  # of this program
        except (EOFError, OSError):
            raise self._ended(process) from None
        if isinstance(found, NotSharedError):
            raise found
        return found

    def _of_others(self) -> list[Any]:
        return [self._received(*other) for other in self._others]

    def outcomes(self) -> Iterator[tuple[Chunk, Outcome]]:
        """Chunks of the input, and what became of their records.

        Raises:
            NotSharedError: the input must be scored by one process.
            TeamError: a process ended early.
        """
        try:
            yield from self._outcomes()
        except CxstreamError:
            raise
        except (
            Exception
        ) as error:  # one process alone says what it is, and passes over what cannot be applied
            raise NotSharedError(f"{type(error).__name__}: {error}") from error

    def _outcomes(self) -> Iterator[tuple[Chunk, Outcome]]:
        before, number = 0, -1
        for told in self.told():
            part, fates = self.score(told, self._limit, self._grace)
            records = told.records
            outcome = together([part, *self._of_others()], fates, len(records.lines))
            piece = told.piece
            before, number = (before if piece.number == number else 0), piece.number
            read = piece.before + piece.end
            yield (
                Chunk(piece.path, records.lines, _moved(records.numbers, before), read, records.cut),
                outcome,
            )
            before += told.lines

    def advance(self, until: int) -> Outcome:
        """Let time pass until `until` (ms UTC) in every partition."""
        return together([self._share.advance(until), *self._of_others()])

    def levels(self) -> Iterator[dict[Any, int]]:
        """Customers by risk level, of each partition and process."""
        yield from (levels(engine) for engine in self._router.engines)
        for found in self._of_others():
            yield from found

    def card_blocks(self) -> Iterator[Packed]:
        """Every customer's card, see `Router.card_blocks`."""
        streams = [self._router.named_card_blocks()]
        streams += [self._cards(number, *other) for number, other in enumerate(self._others, 1)]
        return (cards for _, cards in merged(streams))

    def _cards(self, number: int, process: ForkProcess, ours: Connection) -> Iterator[tuple[Packed, Packed]]:
        """The cards of another process. The texts lie in memory that it uses again when the next ones are asked for."""
        i = 0
        while (found := self._received(process, ours)) is not None:
            names, text, begins, ends = found
            if isinstance(text, int):
                text = self._texts[number - 1].read(i, text)
            yield names, Packed(text, begins, ends)
            self._tell(number, _TAKEN, i)
            i += 1
