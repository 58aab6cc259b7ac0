"""k-means, the clusters that a flow finds in its latents, and how samples are spread over them."""

from collections.abc import Sequence

import torch
from tiny import tiny_flow, tiny_vae
from torch import Tensor

from vae_cli.model.clusters import MIN_CLUSTER_SIZE, k_means, k_means_by_label, nearest
from vae_cli.model.condition import Condition
from vae_cli.model.flow import LatentFlow
from vae_cli.model.priors import clusters_of_images, latents_of_images

CENTERS = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])


def blobs(num: int, shares: tuple[float, ...] = (0.5, 0.3, 0.2)) -> tuple[Tensor, Tensor]:
    """Points [num, 2] around the centers, and which one each belongs to."""
    generator = torch.Generator().manual_seed(3)
    which = torch.multinomial(torch.tensor(shares), num, replacement=True, generator=generator)
    return CENTERS[which] + 0.3 * torch.randn(num, 2, generator=generator), which


def test_k_means_finds_separate_groups() -> None:
    points, which = blobs(600)
    centroids, member = k_means(points, 3, torch.Generator().manual_seed(0))
    distance = torch.cdist(centroids, CENTERS).min(1)
    assert distance.values.max() < 0.1
    assert sorted(distance.indices.tolist()) == [0, 1, 2]
    assert torch.equal(distance.indices[member], which)
    assert torch.equal(nearest(points, centroids), member)


def test_more_clusters_than_points_that_differ_keep_finite_centroids() -> None:
    points = torch.zeros(10, 2)
    centroids, member = k_means(points, 4, torch.Generator().manual_seed(0))
    assert torch.equal(centroids, torch.zeros(4, 2)) and (member == 0).all()


def test_clusters_are_found_within_labels_that_lie_in_one_another() -> None:
    """Two labels at one place: no cluster is both's, and each has its share."""
    points = torch.randn(400, 2)
    label = torch.cat([torch.zeros(300), torch.ones(100)]).long()
    centroids, member = k_means_by_label(points, label, 10, torch.Generator().manual_seed(0), least=16)
    first, second = (set(member[label == number].tolist()) for number in (0, 1))
    assert len(centroids) == 8 and not first & second and (len(first), len(second)) == (6, 2)


def test_rare_and_missing_labels_share_clusters() -> None:
    points = torch.randn(400, 2)
    label = torch.full((400,), -1)
    label[:200], label[200:205] = 3, 1
    centroids, member = k_means_by_label(points, label, 10, torch.Generator().manual_seed(0), least=16)
    of_three = set(member[:200].tolist())
    assert of_three == set(range(4)) and len(centroids) == 8
    assert torch.equal(member[200:], nearest(points[200:], centroids))
    for few in (torch.full((400,), -1), label.clone().fill_(-1).scatter_(0, torch.arange(9), 2)):
        plain = k_means(points, 10, torch.Generator().manual_seed(0))
        assert all(
            map(torch.equal, k_means_by_label(points, few, 10, torch.Generator().manual_seed(0), least=16), plain)
        )
    many = torch.arange(400) % 20
    assert len(k_means_by_label(points, many, 20, torch.Generator().manual_seed(0), least=16)[0]) == 20


def test_images_belong_to_clusters_of_their_label() -> None:
    flow, _ = clustered()
    flow.cluster_counts[:] = torch.tensor([[1.0, 1, 0, 0, 0, 0, 0, 0], [0] * 8, [1, 1, 1, 0, 0, 0, 0, 0]])
    z = flow.restore(flow.centroids[[2, 2, 2, 5]])
    found = flow.cluster_of(z, torch.tensor([0, 1, -1, -1]))
    assert found[0] in (0, 1) and found[1] == found[2] == 2, "a label that no cluster is known of may have any"
    assert found[3] in (0, 1, 2), "never one that no image has"


def clustered(num: int = 400) -> tuple[LatentFlow, Tensor]:
    """A flow on 2×2×2 latents whose first two numbers lie in blobs; label 1 is the second blob, the others -1 or 0."""
    _, flow = tiny_flow({"model": {"flow": {"clusters": 8}}}, num_labels=2)
    points, which = blobs(num)
    z = torch.zeros(num, *flow.shape)
    z.flatten(1)[:, :2] = points
    label = torch.where(which == 1, 1, torch.where(which == 0, 0, -1))
    flow.set_clusters(z, label, torch.Generator().manual_seed(0))
    return flow, z


def drawn_clusters(
    flow: LatentFlow, numbers: Sequence[int], label: int = -1, guidance: float = 1.0, seed: int = 7
) -> Tensor:
    """Of images of one label."""
    return clusters_of_images(flow, seed, numbers, [label] * len(numbers), guidance)


def test_counts_of_all_and_of_each_label() -> None:
    flow, z = clustered()
    member = flow.cluster_of(z, torch.full((len(z),), -1))
    assert flow.cluster_counts[-1].sum() == len(z)
    assert torch.equal(flow.cluster_counts[-1], torch.bincount(member, minlength=8).float())
    in_second = torch.bincount(member[z.flatten(1)[:, 1] > 2], minlength=8).float()
    assert torch.equal(flow.cluster_counts[1], in_second)


def test_few_images_make_few_clusters_or_none() -> None:
    flow, _ = clustered(3 * MIN_CLUSTER_SIZE + 1)
    assert (flow.cluster_counts[-1] > 0).sum() <= 3
    none, z = clustered(MIN_CLUSTER_SIZE - 1)
    assert none.cluster_of(z, torch.zeros(len(z), dtype=torch.int64)).tolist() == [-1] * len(z)
    assert drawn_clusters(none, [0, 1]).tolist() == [-1, -1]


def test_samples_take_clusters_as_often_as_images_do() -> None:
    flow, _ = clustered()
    drawn = drawn_clusters(flow, range(3000))
    share = torch.bincount(drawn, minlength=8) / 3000
    torch.testing.assert_close(share, flow.cluster_counts[-1] / 400, rtol=0, atol=0.04)
    of_label = set(drawn_clusters(flow, range(300), 1).tolist())
    assert of_label <= set(flow.cluster_counts[1].nonzero().flatten().tolist())


def test_guidance_weighs_clusters_by_how_much_they_are_the_labels_own() -> None:
    flow, _ = clustered()
    flow.cluster_counts[:] = torch.tensor([[0.0] * 8, [30, 10, 10] + [0] * 5, [30, 20, 40, 60] + [0] * 4])
    plain, none, twice, huge = (
        torch.bincount(drawn_clusters(flow, range(3000), 1, guidance), minlength=8) / 3000
        for guidance in (1.0, 0.0, 2.0, 500.0)
    )
    tolerance = {"rtol": 0, "atol": 0.04}
    torch.testing.assert_close(plain, torch.tensor([0.6, 0.2, 0.2] + [0.0] * 5), **tolerance)
    torch.testing.assert_close(none, torch.tensor([30, 20, 40, 60] + [0.0] * 4) / 150, **tolerance)
    torch.testing.assert_close(twice, torch.tensor([30, 5, 2.5] + [0.0] * 5) / 37.5, **tolerance)
    assert huge[0] == 1


def test_each_image_may_have_its_own_label() -> None:
    flow, _ = clustered()
    mixed = clusters_of_images(flow, 7, [5, 5, 5], [0, 1, -1])
    assert mixed.tolist() == [drawn_clusters(flow, [5], label).item() for label in (0, 1, -1)]


def test_an_images_cluster_depends_on_seed_and_number_alone() -> None:
    flow, _ = clustered()
    many = drawn_clusters(flow, range(5))
    assert drawn_clusters(flow, [3]).item() == many[3]
    assert drawn_clusters(flow, [4, 0]).tolist() == [many[4], many[0]]
    assert drawn_clusters(flow, range(50), seed=8).tolist() != drawn_clusters(flow, range(50)).tolist()


@torch.inference_mode()
def test_the_cluster_is_seen_and_minus_one_is_none() -> None:
    flow, _ = clustered()
    noise, nothing = torch.randn(4, *flow.shape), Condition.nothing(4, 1, (8, 8), torch.device("cpu"))
    results = [
        flow.solve(noise, nothing.with_start(flow.start_at(torch.full((4,), cluster))), steps=2)
        for cluster in (-1, 0, 1)
    ]
    assert torch.equal(results[0], flow.solve(noise, nothing, steps=2))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(results[a], results[b])


@torch.inference_mode()
def test_sampled_latents_go_through_their_cluster() -> None:
    flow, _ = clustered()
    vae = tiny_vae()
    latents = latents_of_images(vae, flow, 7, [5, 6], device=torch.device("cpu"), steps=2)
    flow.cluster_counts.zero_()
    assert not torch.allclose(latents.noise[0], latents_of_images(
        vae, flow, 7, [5, 6], device=torch.device("cpu"), steps=2).noise[0])  # fmt: skip
