"""Each example as a user would have it running."""

from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from tests.examples.running import Example, prepared


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Example]:
    async with prepared("shop", tmp_path_factory.mktemp("shop")) as example:
        yield example


@pytest.fixture(scope="module")
def shop_process(shop: Example) -> Iterator[psutil.Process]:
    """Of the shop's parent, once the shop answers."""
    with shop.started() as process:
        yield process


@pytest.fixture(scope="module")
async def notes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Example]:
    async with prepared("notes", tmp_path_factory.mktemp("notes")) as example:
        with example.started():
            yield example
