"""One local Ray for all actor tests of a session."""

from collections.abc import Iterator

import pytest

from tests import local_ray as fixture


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    with fixture.local_ray(num_cpus=2):
        yield
