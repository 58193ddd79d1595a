"""Slabs on threads: results in order, errors in their place."""

import threading
import time
from collections.abc import Iterator
from itertools import islice

import pytest

from s2ops.runtime.threads import single_flight, ordered_map


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    slow = threading.Event()

    def work(number: int) -> int:
        if number == 0 and threads > 1:
            assert slow.wait(5)  # the first is the last to be ready
        if number == threads - 1:
            slow.set()
        return number * number

    assert list(ordered_map(work, range(12), threads)) == [number * number for number in range(12)]


def test_no_more_is_held_than_one_beyond_the_threads() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            asked.append(number)
            yield number

    results = ordered_map(lambda number: number, items(), 2)
    assert list(islice(results, 3)) == [0, 1, 2]
    assert len(asked) <= 6
    results.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_in_its_place() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("the fourth slab")
        return number

    results = ordered_map(work, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth slab"):
        next(results)


def test_of_threads_that_ask_for_the_same_one_works() -> None:
    worked: list[str] = []

    def slow(name: str) -> str:
        worked.append(name)
        time.sleep(0.02)
        return name.upper()

    ask = single_flight(slow)
    assert list(ordered_map(ask, ["a", "b"] * 8, 8)) == ["A", "B"] * 8
    assert sorted(worked) == ["a", "b"]


def test_who_asks_for_something_else_does_not_wait() -> None:
    """Networks are loaded side by side: the first answer waits here until the second is there."""
    second = threading.Event()

    def slow(name: str) -> str:
        if name == "a":
            assert second.wait(5)
        else:
            second.set()
        return name.upper()

    assert list(ordered_map(single_flight(slow), ["a", "b"], 2)) == ["A", "B"]


def test_an_error_is_not_kept() -> None:
    answers = iter([ValueError("not yet"), "there"])

    def fails_first(_: str) -> str:
        found = next(answers)
        if isinstance(found, ValueError):
            raise found
        return found

    ask = single_flight(fails_first)
    with pytest.raises(ValueError, match="not yet"):
        ask("a")
    assert ask("a") == ask("a") == "there"
