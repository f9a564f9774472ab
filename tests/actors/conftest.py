"""One local Ray for all actor tests of a session."""

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="package")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, object_store_memory=256 * 2**20, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
