"""Thread helpers: results in order, errors in their place, shared executions."""

import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from s2ops.runtime.threads import deduplicate_calls, map_ordered


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_map_ordered_yields_results_in_the_order_of_the_items(threads: int) -> None:
    slow = threading.Event()

    def compute(number: int) -> int:
        if number == 0 and threads > 1:
            assert slow.wait(5)  # the first item is the last to be ready
        if number == threads - 1:
            slow.set()
        return number * number

    assert list(map_ordered(compute, range(12), threads)) == [number * number for number in range(12)]


def test_map_ordered_holds_at_most_one_result_more_than_threads() -> None:
    read: list[int] = []

    def read_items() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            yield number

    results = map_ordered(lambda number: number, read_items(), 2)
    assert list(islice(results, 3)) == [0, 1, 2]
    assert len(read) <= 6
    results.close()  # type: ignore[attr-defined]


def test_map_ordered_raises_an_error_in_its_place() -> None:
    def compute(number: int) -> int:
        if number == 3:
            raise ValueError("the fourth slab")
        return number

    results = map_ordered(compute, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth slab"):
        next(results)


def test_deduplicate_calls_executes_concurrent_equal_calls_once() -> None:
    executed: list[str] = []

    def convert(name: str) -> str:
        executed.append(name)
        time.sleep(0.02)
        return name.upper()

    call = deduplicate_calls(convert)
    assert list(map_ordered(call, ["a", "b"] * 8, 8)) == ["A", "B"] * 8
    assert sorted(executed) == ["a", "b"]


def test_deduplicate_calls_does_not_block_calls_with_other_arguments() -> None:
    """Networks are loaded concurrently: here the first result waits for the second."""
    second = threading.Event()

    def convert(name: str) -> str:
        if name == "a":
            assert second.wait(5)
        else:
            second.set()
        return name.upper()

    assert list(map_ordered(deduplicate_calls(convert), ["a", "b"], 2)) == ["A", "B"]


def test_deduplicate_calls_does_not_cache_an_error() -> None:
    answers = iter([ValueError("not yet"), "there"])

    def fail_first(_: str) -> str:
        found = next(answers)
        if isinstance(found, ValueError):
            raise found
        return found

    call = deduplicate_calls(fail_first)
    with pytest.raises(ValueError, match="not yet"):
        call("a")
    assert call("a") == call("a") == "there"
