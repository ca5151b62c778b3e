"""Batches that are read by other threads while those before them are scored."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
R = TypeVar("R")

# Batches that a thread may be ahead: enough for it never to wait, and little memory.
_AHEAD = 2


def read_ahead(items: Iterator[T], read: Callable[[T], R], threads: int) -> Iterator[tuple[T, R]]:
    """Take items and read them in other threads, some ahead; give them in their order.

    Args:
        items: taken one after the other, each by one of the threads.
        read: reads one; may run in several threads at once.
        threads: how many.

    Raises:
        Exception: what taking or reading an item raises, after the items before it.
    """
    taking = threading.Lock()
    over = False

    def step() -> None:
        nonlocal over
        # The item that is taken next belongs to the oldest call that waits, whatever thread takes it: so items keep their order.
        with taking:
            found: Future[R] = Future()
            try:
                item = None if over else next(items, None)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                over = True
                waiting.popleft().set_exception(error)
                return
            first = waiting.popleft()
            if item is None:
                over = True
                first.set_result(None)
                return
            first.set_result((item, found))
        try:
            found.set_result(read(item))
        except BaseException as error:  # noqa: BLE001 - likewise
            found.set_exception(error)

    waiting: deque[Future[tuple[T, Future[R]] | None]] = deque()
    answers: deque[Future[tuple[T, Future[R]] | None]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")

    def ask() -> None:
        answer: Future[tuple[T, Future[R]] | None] = Future()
        waiting.append(answer)
        answers.append(answer)
        pool.submit(step)

    try:
        for _ in range(_AHEAD * threads):
            ask()
        while (told := answers.popleft().result()) is not None:
            item, found = told
            result = found.result()
            ask()
            yield item, result
    finally:
        over = True
        # A thread may wait for a pipe into which nobody writes: nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)
