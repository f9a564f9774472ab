"""Golden-ratio codes: the sequence u_j = frac(U + j / phi), whose every prefix and every window is spread evenly over [0, 1).

A code depends on the run's seed, the group's name and the sample's index alone. So adaptive k, an extension, a resumed run or a partition
give a sample the code that one larger run would have given it, and shards have nothing to tell each other.

Codes are 64-bit integers, fractions of 2^64: sums wrap around, which is the "frac".
"""

import hashlib
from dataclasses import dataclass

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 / phi to the nearest odd integer: odd, so that 2^64 codes pass before one returns."""
CODE_BITS = 64
FLOAT_BITS = 53
"""What a float64 keeps of a code: its mantissa."""


@dataclass(frozen=True, slots=True)
class GroupCodes:
    """The codes of one prompt group: a golden-ratio sequence from a random offset (a Cranley-Patterson rotation), so that each code alone
    is uniform."""

    offset: int
    """U as a fraction of 2^64, in [0, 2^64)."""

    @classmethod
    def of(cls, seed: int, group: str) -> "GroupCodes":
        """The codes of a group in a run. Groups of another name, or runs of another seed, have independent offsets."""
        return cls(stable_hash("group", seed, group))

    def code(self, index: int) -> int:
        """Code of the sample with this index, >= 0, in [0, 2^64)."""
        return (self.offset + index * GOLDEN) % 2**CODE_BITS

    def uniform(self, index: int) -> float:
        """The same as a float64 in [0, 1): its leading 53 bits."""
        return unit_float(self.code(index))


def unit_float(code: int) -> float:
    """A 64-bit code as a float64 in [0, 1), rounded down: rounding to nearest could give 1.0, which no token owns.

    >>> unit_float(2**63)
    0.5
    """
    return float((code % 2**CODE_BITS) >> (CODE_BITS - FLOAT_BITS)) * 2.0**-FLOAT_BITS


def stable_hash(*parts: object) -> int:
    """64 bits that depend on the parts alone: the same in every process and release, unlike Python's `hash`."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
