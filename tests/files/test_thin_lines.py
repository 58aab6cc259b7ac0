"""Pixels of thin lines are joined where their directions agree."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae_cli.files import thin_lines


def labels_of(pixels: list[tuple[int, int]], directions: list[int]) -> list[int]:
    ridges = np.zeros(len(pixels), thin_lines._RIDGE)
    ridges["row"], ridges["column"] = np.array(pixels).T
    ridges["direction"] = directions
    return thin_lines._line_of(ridges).tolist()


def test_pixels_are_joined_over_gaps_where_directions_agree() -> None:
    assert labels_of([(0, 0), (0, 2), (2, 4), (5, 4)], [3, 3, 4, 4]) == [0, 0, 0, 1]
    assert labels_of([(0, 0), (0, 1), (1, 1)], [3, 5, 4]) == [0, 0, 0], "the third joins the others"
    assert labels_of([(0, 0), (0, 1)], [3, 5]) == [0, 1]
    assert labels_of([(0, 0), (0, 1)], [15, 0]) == [0, 0], "directions go round"
    assert labels_of([(0, 9), (1, 0)], [0, 0]) == [0, 1], "rows end"
    assert labels_of([(0, 2), (1, 0)], [0, 0]) == [0, 0], "to the left, too"


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), st.integers(0, 9))
def test_order_does_not_matter(pixels: set[tuple[int, int]], seed: int) -> None:
    ordered = sorted(pixels)
    random = np.random.default_rng(seed)
    directions = random.integers(0, 16, len(ordered))
    order = random.permutation(len(ordered))
    labels = labels_of(ordered, directions.tolist())
    shuffled = labels_of([ordered[i] for i in order], directions[order].tolist())
    same = np.equal.outer(labels, labels)[np.ix_(order, order)]
    np.testing.assert_array_equal(same, np.equal.outer(shuffled, shuffled))
