"""Fixtures of the training tests."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as the machine's processors are shared by several tests."""
    torch = pytest.importorskip("torch", reason="training needs the extra 'torch'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
