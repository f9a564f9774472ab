"""Freed memory stays in the process."""

import platform
import resource

import pytest
import torch

from esamp.engine.allocator import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_large_blocks_cost_no_page_faults_the_second_time() -> None:
    def faults_of_one_block() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(8 * 2**20 // 4)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert keep_freed_memory()
    for _ in range(3):
        faults_of_one_block()
    assert min(faults_of_one_block() for _ in range(5)) < 100, "8 MiB are 2,048 pages"
