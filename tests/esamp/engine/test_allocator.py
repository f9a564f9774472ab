"""Freed memory stays in the process."""

import platform
import resource

import pytest
import torch

from esamp.engine.allocator import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_steps_logits_cost_no_page_faults_once_the_memory_is_kept() -> None:
    """48 MiB: above the largest threshold that glibc accepts for blocks of its own from the system. The first few are still new memory."""

    def faults_of_one_block() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(48 * 2**20 // 4)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert keep_freed_memory()
    for _ in range(16):
        faults_of_one_block()
    assert min(faults_of_one_block() for _ in range(5)) < 100, "48 MiB are 12,288 pages"
