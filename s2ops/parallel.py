"""Slabs on several threads, results in their order: what is written never depends on who was first."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`function` of each item, in the items' order, on `threads` threads; one more result than threads is held.

    With one thread it is a plain map. An error is raised in its place; what has not begun by then never begins.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    todo, ahead = iter(items), deque[Future[R]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            ahead.extend(pool.submit(function, item) for item in islice(todo, threads + 1))
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(function, item) for item in islice(todo, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
