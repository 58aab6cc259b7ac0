"""Distances between feature sets against closed forms, hand-made cases and, where installed, torch-fidelity."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from scipy.spatial import KDTree
from torch import Tensor

from vae_cli.metrics import features
from vae_cli.metrics.features import frechet_distance, kernel_distance, nearest_training, neighbourhoods, squared_mmd


def normal(num: int, width: int, seed: int, *, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    """float64 [num, width]."""
    generator = torch.Generator().manual_seed(seed)
    return shift + scale * torch.randn(num, width, generator=generator, dtype=torch.float64)


def with_moments(num: int, mean: Tensor, root: Tensor, seed: int) -> Tensor:
    """Rows whose sample mean and unbiased covariance are exactly `mean` and root @ root.T."""
    rows = normal(num, len(mean), seed)
    rows = rows - rows.mean(0)
    white = rows @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(rows.T))).T
    return white @ root.T + mean


# ---- Fréchet distance


def test_frechet_distance_of_two_gaussians() -> None:
    """Diagonal covariances commute: |m1 - m2|² + Σ (s1 - s2)²."""
    means = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.5]], dtype=torch.float64)
    scales = torch.tensor([[1.0, 2.0, 0.3], [4.0, 0.5, 0.3]], dtype=torch.float64)
    a, b = (with_moments(50 + 9 * i, means[i], torch.diag(scales[i]), seed=i) for i in (0, 1))
    expected = (means[0] - means[1]).square().sum() + (scales[0] - scales[1]).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-10)


def test_frechet_distance_of_correlated_gaussians() -> None:
    """Against the definition, with SciPy's matrix square root."""
    a, b = (normal(40, 4, seed) @ normal(4, 4, 10 + seed) + seed for seed in (1, 2))
    first, second = (torch.cov(rows.T).numpy() for rows in (a, b))
    shift = (a.mean(0) - b.mean(0)).square().sum().item()
    expected = shift + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_a_set_from_itself_is_zero_with_fewer_rows_than_columns() -> None:
    a = normal(7, 30, seed=0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * 30, rel=1e-10)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * a.var(0).sum().item(), rel=1e-9)


def test_frechet_distance_takes_constant_features() -> None:
    a, b = torch.ones(5, 3), torch.full((6, 3), 3.0)
    assert frechet_distance(a, b) == pytest.approx(12)


# ---- kernel distance


def test_squared_mmd_by_hand() -> None:
    """Two rows each, one column: the kernel is (x y + 1)³."""
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    within = 1.0 + 7.0**3
    across = (1 + 1 + 3**3 + 4**3) / 4
    assert squared_mmd(a, b) == pytest.approx(within - 2 * across)


def test_kernel_distance_is_zero_on_average_for_one_distribution() -> None:
    same = kernel_distance(normal(400, 8, 0), normal(400, 8, 1), subset_size=100)
    other = kernel_distance(normal(400, 8, 0), normal(400, 8, 1, shift=0.5), subset_size=100)
    assert abs(same.mean) < 0.05 < 0.3 < other.mean
    assert 0 < same.std < 0.2


def test_kernel_distance_follows_the_seed_alone() -> None:
    a, b = normal(60, 4, 0), normal(50, 4, 1)
    state = torch.get_rng_state()
    assert kernel_distance(a, b, seed=3) == kernel_distance(a, b, seed=3) != kernel_distance(a, b, seed=4)
    assert torch.equal(state, torch.get_rng_state()), "the global generator was touched"


def test_a_small_set_still_has_a_spread() -> None:
    """Subsets as large as the set would all be the same one."""
    found = kernel_distance(normal(20, 4, 0), normal(20, 4, 1))
    assert found.std > 0 and math.isfinite(found.mean)


# ---- precision, recall, density, coverage


def test_neighbourhoods_by_hand() -> None:
    """On a line with k = 1: real balls [-1, 1], [0, 2], [1, 3], [9, 11] and [10, 12]."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]])
    fake = torch.tensor([[0.5], [2.5], [30.0], [30.5]])  # balls [-1.5, 2.5], [0.5, 4.5], [29.5, 30.5], [30, 31]
    found = neighbourhoods(real, fake, k=1)
    assert found.precision == pytest.approx(2 / 4), "30 and 30.5 lie in no ball"
    assert found.density == pytest.approx((2 + 1 + 0 + 0) / 4), "0.5 lies in two balls, 2.5 in one"
    assert found.recall == pytest.approx(3 / 5), "10 and 11 lie in no ball of a generated one"
    assert found.coverage == pytest.approx(3 / 5), "nothing comes near 10 and 11"


def test_neighbourhoods_agree_with_scipys_trees() -> None:
    real, fake = normal(80, 3, 0), normal(70, 3, 1, shift=0.5)
    trees = {"real": KDTree(real.numpy()), "fake": KDTree(fake.numpy())}
    radius = {name: tree.query(tree.data, k=[6])[0][:, 0] for name, tree in trees.items()}  # the first is itself
    balls_around = trees["fake"].query_ball_point(trees["real"].data, radius["real"])  # of each real one, who is inside
    num_balls = np.bincount(np.concatenate([*map(np.array, balls_around)]).astype(int), minlength=70)
    inside_fake = trees["real"].query_ball_point(trees["fake"].data, radius["fake"])
    recalled = {number for ball in inside_fake for number in ball}
    expected = ((num_balls > 0).mean(), len(recalled) / 80, num_balls.mean() / 5, np.mean([*map(bool, balls_around)]))
    assert neighbourhoods(real, fake, k=5) == pytest.approx(expected)


def test_the_same_set_and_a_far_one() -> None:
    real = normal(60, 5, 0)
    assert neighbourhoods(real, real) == pytest.approx((1, 1, neighbourhoods(real, real).density, 1))
    assert neighbourhoods(real, real + 1000) == (0, 0, 0, 0)


def test_density_is_about_one_for_one_distribution() -> None:
    assert neighbourhoods(normal(500, 3, 0), normal(500, 3, 1)).density == pytest.approx(1, abs=0.1)


def test_collapsed_samples_are_precise_but_cover_nothing() -> None:
    real = normal(200, 4, 0)
    found = neighbourhoods(real, real[:1].expand(200, -1) + 1e-3 * normal(200, 4, 1))
    assert found.precision == 1 and found.recall < 0.05 and found.coverage < 0.2


def test_doubled_points_have_balls_of_no_size() -> None:
    """Exact copies stay at distance zero whatever the rounding of the matrix product."""
    points = 1000 + normal(8, 50, 0).repeat_interleave(6, 0)
    assert neighbourhoods(points, points, k=5).precision == 1
    assert neighbourhoods(points, points + 1e-3, k=5).precision == 0


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [normal(41, 6, seed) for seed in (0, 1, 2)]
    whole = neighbourhoods(*sets[:2]), nearest_training(*sets)
    monkeypatch.setattr(features, "PIECE_BYTES", 41 * 8 * 3)
    assert neighbourhoods(*sets[:2]) == pytest.approx(whole[0])
    assert nearest_training(*sets) == pytest.approx(whole[1])


def test_fewer_rows_than_neighbours() -> None:
    assert neighbourhoods(normal(3, 2, 0), normal(4, 2, 1)).density >= 0


# ---- copies


def test_copies_are_caught() -> None:
    training, held_out = normal(400, 6, 0), normal(300, 6, 1)
    copies = training[:300] + 0.01 * normal(300, 6, 2)
    found = nearest_training(copies, held_out, training)
    assert found.training_images == 400
    assert found.median_ratio < 0.05 and found.share_below_1_percent > 0.95 and found.share_below_median == 1
    exact = nearest_training(training[:50], held_out, training)
    assert exact.sample_median == 0 and exact.share_below_1_percent == 1


def test_fresh_draws_are_no_copies() -> None:
    found = nearest_training(normal(500, 6, 2), normal(500, 6, 1), normal(500, 6, 0))
    assert found.median_ratio == pytest.approx(1, abs=0.1)
    assert found.share_below_1_percent < 0.05 and found.share_below_median == pytest.approx(0.5, abs=0.1)


def test_a_few_copies_among_fresh_draws_show() -> None:
    training = normal(500, 6, 0)
    mixed = torch.cat([normal(400, 6, 2), training[:100]])
    assert nearest_training(mixed, normal(500, 6, 1), training).share_below_1_percent == pytest.approx(0.21, abs=0.02)


def test_distances_are_euclidean() -> None:
    found = nearest_training(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    assert (found.sample_median, found.held_out_median, found.median_ratio) == (5, 2, 2.5)


def test_held_out_images_that_are_copies_give_no_ratio() -> None:
    rows = normal(5, 3, 0)
    assert math.isnan(nearest_training(rows + 1, rows, rows).median_ratio)


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance, neighbourhoods])
def test_one_row_is_no_set(measure) -> None:
    with pytest.raises(ValueError, match="rows"):
        measure(normal(1, 3, 0), normal(5, 3, 1))


# ---- the same figures from torch-fidelity


def test_frechet_distance_agrees_with_torch_fidelity() -> None:
    reference = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = normal(200, 12, 0), normal(180, 12, 1, shift=0.2, scale=1.3)
    statistics = [reference.fid_features_to_statistics(rows) for rows in (a, b)]
    expected = reference.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_kernel_distance_agrees_with_torch_fidelity() -> None:
    """Subsets differ, so the means agree within their error; a single pair of sets agrees exactly."""
    reference = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = normal(400, 12, 0), normal(400, 12, 1, shift=0.3)
    kernels = [reference.kernel_poly(x.numpy(), y.numpy()) for x, y in ((a, a), (a, b), (b, b))]
    assert squared_mmd(a, b) == pytest.approx(float(reference.mmd2(*kernels)), rel=1e-9)
    settings = {"kid_subsets": 100, "kid_subset_size": 100, "rng_seed": 1, "verbose": False}
    expected = reference.kid_features_to_metric(a, b, **settings)
    found = kernel_distance(a, b, subset_size=100)
    assert found.mean == pytest.approx(expected["kernel_inception_distance_mean"], abs=4 * found.std / 10)
    assert found.std == pytest.approx(expected["kernel_inception_distance_std"], rel=0.4)


def test_precision_and_recall_agree_with_torch_fidelity() -> None:
    reference = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = normal(150, 5, 0), normal(130, 5, 1, shift=0.4, scale=0.7)
    precision, recall = reference.calculate_precision_recall_full(fake, real, neighborhood=3)
    assert neighbourhoods(real, fake, k=3)[:2] == pytest.approx((precision, recall), abs=1e-6)
    assert abs(precision - recall) > 0.05, "the case has to tell the two apart"
