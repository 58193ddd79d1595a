"""Slabs on several threads, results in their order: what is written never depends on who was first."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`function` of each item, in the items' order, on `threads` threads; one more result than threads is held.

    With one thread it is a plain map. An error is raised in its place; what has not begun by then never begins.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from ordered_map_on(pool, function, items, threads + 1)


def ordered_map_on(pool: Executor, function: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """`in_order` on threads that are there already; at most `most` items are begun and not given yet."""
    todo, ahead = iter(items), deque[Future[R]]()
    try:
        ahead.extend(pool.submit(function, item) for item in islice(todo, most))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(function, item) for item in islice(todo, 1))
    finally:
        for one in ahead:
            one.cancel()


def single_flight(function: Callable[[T], R]) -> Callable[[T], R]:
    """`function`, whose answers are kept: of threads that ask for the same at once, one works and the others wait.

    `lru_cache` lets all of them work. Who asks for something else does not wait. An error goes to all who wait for it,
    and is not kept.
    """
    lock, kept = Lock(), dict[T, Future[R]]()

    def answer(of: T) -> R:
        with lock:
            known = kept.get(of)
            promised = kept.setdefault(of, Future())
        if known is None:
            try:
                promised.set_result(function(of))
            except BaseException as error:
                with lock:
                    del kept[of]
                promised.set_exception(error)
        return promised.result()

    return answer
