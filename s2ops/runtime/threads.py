"""Thread helpers: ordered parallel map (bounded prefetch), and deduplication of concurrent calls (single flight).

Results come in the order of the items, so outputs never depend on the timing of threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ordered(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Apply a function to items on several threads, and yield the results in the order of the items.

    An error is raised in the place of its result; items that have not started by then never start.

    Args:
        function: Function of one item.
        items: Items, read lazily: at most one more than threads has started and is not yielded yet.
        threads: Number of threads; with one, this is a plain map.
    """
    if threads <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from map_ordered_on(pool, function, items, threads + 1)


def map_ordered_on(pool: Executor, function: Callable[[T], R], items: Iterable[T], max_pending: int) -> Iterator[R]:
    """Apply a function to items like `map_ordered`, on an existing pool.

    Args:
        pool: Executor.
        function: Function of one item.
        items: Items, read lazily.
        max_pending: Maximum number of items that have started and are not yielded yet.
    """
    rest, pending = iter(items), deque[Future[R]]()
    try:
        pending.extend(pool.submit(function, item) for item in islice(rest, max_pending))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(rest, 1))
    finally:
        for future in pending:
            future.cancel()


def deduplicate_calls(function: Callable[[T], R]) -> Callable[[T], R]:
    """Cache a function's results, and let concurrent calls with the same argument share one execution (single flight).

    With `lru_cache`, all of the concurrent calls would execute. Calls with other arguments do not wait. An error is
    raised in all calls that wait for it, and is not cached.
    """
    lock, results = Lock(), dict[T, Future[R]]()

    def call(argument: T) -> R:
        with lock:
            known = results.get(argument)
            promised = results.setdefault(argument, Future())
        if known is None:
            try:
                promised.set_result(function(argument))
            except BaseException as error:
                with lock:
                    del results[argument]
                promised.set_exception(error)
        return promised.result()

    return call
