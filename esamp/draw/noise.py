"""The random numbers of vLLM's draw on a CPU (release 0.32): one seed per row and step, then one hash per token.

    bits(i) = mix(mix(seed) + (i + 1) * 0x9E3779B97F4A7C15) >> 11     SplitMix64: Steele, Lea, Flood, OOPSLA 2014
    u(i)    = (bits(i) + 1/2) 2^-53
    g(i)    = -log(-log u(i))                                         standard Gumbel, in fp64

token = argmax over i of z(i) + g(i) is then a sample of softmax(z) (the Gumbel-max trick). Other releases may draw other numbers: that
beta 0 gives stock vLLM's tokens is a test, not an assumption.
"""

import torch
from torch import Tensor

LARGEST_SEED = 2**31
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
"""2^64 divided by the golden ratio, as the signed number with the same bits: torch multiplies int64 modulo 2^64 as well."""
FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
SECOND_FACTOR = 0x94D049BB133111EB - 2**64


def draw_seeds(num_rows: int, generators: dict[int, torch.Generator], device: torch.device) -> Tensor:
    """Seeds [B] int64 for one step, on the device of the generators. Takes the same numbers from the same generators as vLLM does on a CPU:
    one for each row from the global generator, which a row with a generator of its own replaces by one from that."""
    seeds_B = torch.randint(0, LARGEST_SEED, (num_rows,), dtype=torch.long, device=device)
    if generators:
        # In place: a number of its own for each row, read and written again, takes five times as long.
        seed_of_row = seeds_B.split(1)
        for row, generator in generators.items():
            seed_of_row[row].random_(0, LARGEST_SEED, generator=generator)
    return seeds_B


def gumbel_noise(seeds_B: Tensor, vocabulary: int) -> Tensor:
    """Noise [B, V] fp64 of each row's tokens."""
    place_V = torch.arange(1, vocabulary + 1, device=seeds_B.device)
    bits_BV = shift_right(mix(mix(seeds_B).unsqueeze(1) + place_V * GOLDEN), 11)
    return -torch.log(-torch.log((bits_BV.double() + 0.5) * 2.0**-53))


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on the bits of int64 numbers."""
    x = (x ^ shift_right(x, 30)) * FIRST_FACTOR
    x = (x ^ shift_right(x, 27)) * SECOND_FACTOR
    return x ^ shift_right(x, 31)


def shift_right(x: Tensor, count: int) -> Tensor:
    """The bits of x moved to the right; zeros come in from the left, where torch repeats the sign."""
    return (x >> count) & (2 ** (64 - count) - 1)
