"""Things that touch, joined to one."""

import numpy as np


def roots(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """[count] smallest member of each item's set after joining the pairs left[i], right[i]."""
    parents = np.arange(count)
    while True:
        one, other = parents[left], parents[right]
        differ = one != other
        if not differ.any():
            return parents
        np.minimum.at(parents, np.maximum(one, other)[differ], np.minimum(one, other)[differ])
        while not np.array_equal(parents, shorter := parents[parents]):
            parents = shorter
