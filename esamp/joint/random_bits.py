"""Random numbers by counter: a function of a key and a position, the same whatever the batch, the order or the device.

SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195): position n of a stream is the mixed value of key + n * gamma.
"""

import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def uniform_at(key_R: Tensor, position_R: Tensor) -> Tensor:
    """[R] float64 in [0, 1) with 53 random bits. `key_R`, `position_R`: [R] int64."""
    return shifted(mixed(key_R + (position_R + 1) * signed(GAMMA)), 11).double() * 2.0**-53


def mixed(bits_R: Tensor) -> Tensor:
    """SplitMix64's finaliser on [R] int64, read as unsigned: torch has no unsigned arithmetic, and int64 wraps around alike."""
    bits_R = (bits_R ^ shifted(bits_R, 30)) * signed(MIX_1)
    bits_R = (bits_R ^ shifted(bits_R, 27)) * signed(MIX_2)
    return bits_R ^ shifted(bits_R, 31)


def shifted(bits_R: Tensor, by: int) -> Tensor:
    """[R] int64 shifted right as if unsigned; torch's own shift copies the sign bit in."""
    return torch.bitwise_and(torch.bitwise_right_shift(bits_R, by), (1 << (64 - by)) - 1)


def signed(bits: int) -> int:
    """The int64 with the bits of this unsigned 64-bit integer.

    >>> signed(2**64 - 1)
    -1
    """
    return bits - 2**64 if bits >= 2**63 else bits
