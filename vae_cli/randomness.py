"""Every random number of the program comes from a generator that is told what it draws: a seed and a place.

A place is a row of whole numbers. In training its first number is one of the streams below, so that what is drawn in
one stream never moves what is drawn in another.
"""

import hashlib

import torch

VAE_NOISE, FLOW_NOISE, VALIDATION, INITIAL_WEIGHTS, DROPOUT, CLUSTERS, ADVERSARY, CALIBRATION, STATISTICS = range(1, 10)
"""Streams of training: what an update draws in either phase, what validation looks at, the weights that a phase starts
from, dropout, the clusters of the latents, the discriminator's weights, what a trained flow is calibrated on, and which
images the statistics of the latents are taken from."""
CLUSTER_OF_SAMPLE, PARTNER, LAYOUT_OF_SAMPLE = 1, 2, 3
"""Behind the number of an image that is drawn: which cluster it starts from, which images `augment` pairs, and the
noise of the layout that it starts from."""


def image_generator(seed: int, *place: int) -> torch.Generator:
    """A generator that depends on the seed and on numbers that say what is drawn (image, hole, fill …)."""
    mixed = seed & (2**63 - 1)
    for number in place:  # splitmix64's finaliser: neighbouring seeds and places become unrelated
        mixed = (mixed + 0x9E3779B97F4A7C15 + (number & (2**63 - 1)) * 0xD1342543DE82EF95) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)


NUM_PLACES = 2**56
"""Seven bytes: `image_generator` uses 63 bits."""


def place_of(name: str) -> int:
    """A number below NUM_PLACES for `image_generator` that stands for an image's id."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=7).digest())
