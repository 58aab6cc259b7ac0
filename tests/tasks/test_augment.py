"""New images near training images: where they come from, what they depend on, and what is never kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import VECTOR, image_set, randomised, tiny_model
from torch import nn

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet
from vae_cli.errors import ConfigError
from vae_cli.metrics import classifier
from vae_cli.model.vae import Latents
from vae_cli.tasks import augment as task
from vae_cli.tasks import augment_sources
from vae_cli.tasks.augment import METHODS, Augmented, augment, new_counts
from vae_cli.tasks.augment_checks import (
    MAX_STEPS,
    MIN_DISTANCE,
    NEAR_HELD_OUT,
    UNSURE,
    Checks,
    Verdict,
    num_steps,
    prepare_checks,
    thumbnails,
)
from vae_cli.tasks.reconstruct import reconstruct

NOTHING_HELD_OUT = np.zeros((0, 8, 8, 1), np.uint8)
NO_CHECKS = Checks(None, thumbnails(NOTHING_HELD_OUT), 0.0)


@pytest.fixture(scope="module")
def model() -> Model:
    """With a VAE whose reconstructions differ."""
    model = tiny_model(num_labels=2)
    randomised(model.vae, 1.0, seed=3)
    return model


@pytest.fixture
def sources() -> ImageSet:
    """Eight images of two classes, taking turns."""
    return image_set(8, num_labels=2)


def made(
    model: Model, sources: ImageSet, count: int = 2, checks: Checks = NO_CHECKS, **settings: object
) -> list[Augmented]:
    return list(augment(model, sources, [count] * len(sources.ids), checks, **settings))  # type: ignore[arg-type]


def pixels_of(images: list[Augmented]) -> np.ndarray:
    assert all(image.pixels is not None for image in images)
    return np.stack([image.pixels for image in images])  # type: ignore[misc]


def part_of(images: ImageSet, positions: list[int]) -> ImageSet:
    return ImageSet(images.pixels[positions], tuple(images.ids[p] for p in positions), images.labels[positions])


def set_of(labels: list[int]) -> ImageSet:
    return replace(image_set(len(labels)), labels=np.array(labels))


# How many


def test_every_image_gets_as_many() -> None:
    assert new_counts(set_of([0, 1, 0, -1]), per_image=3) == [3, 3, 3, 3]


@pytest.mark.parametrize("per_image", [0, 2])
def test_balance_ends_with_classes_of_one_size(per_image: int) -> None:
    images = set_of([0] * 7 + [1] * 3 + [2] + [-1] * 2)
    counts = np.array(new_counts(images, per_image=per_image, balance=True))
    totals = {label: (images.labels == label).sum() + counts[images.labels == label].sum() for label in (0, 1, 2)}
    assert set(totals.values()) == {7 * (1 + per_image)}
    assert (counts[images.labels == -1] == per_image).all() and (counts[images.labels == 0] == per_image).all()
    assert np.ptp(counts[images.labels == 1]) <= 1, "a class's images share what is missing"


def test_images_come_in_order_and_are_numbered(model: Model, sources: ImageSet) -> None:
    counts = [2, 0, 1, 3, 0, 0, 1, 0]
    images = list(augment(model, sources, counts, NO_CHECKS))
    places = [(image.source, image.number) for image in images]
    assert places == [(0, 1), (0, 2), (2, 1), (3, 1), (3, 2), (3, 3), (6, 1)]
    assert pixels_of(images).dtype == np.uint8 and pixels_of(images).shape == (7, 8, 8, 1)


# What an image depends on


@pytest.mark.parametrize("method", METHODS)
def test_it_depends_on_seed_id_and_number(model: Model, sources: ImageSet, method: str) -> None:
    settings = {"method": method, "strength": 0.8}
    three = pixels_of(made(model, sources, 3, **settings)).reshape(8, 3, 8, 8)
    assert np.array_equal(pixels_of(made(model, sources, 1, **settings)).reshape(8, 8, 8), three[:, 0])
    assert not np.array_equal(three[:, 0], three[:, 1])
    assert not np.array_equal(pixels_of(made(model, sources, 3, seed=1, **settings)).reshape(three.shape), three)
    renamed = replace(sources, ids=tuple(f"other/{name}" for name in sources.ids))
    assert not np.array_equal(pixels_of(made(model, renamed, 3, **settings)).reshape(three.shape), three)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_and_chunks_leave_no_trace(
    model: Model, sources: ImageSet, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Nor do checks that refuse some candidates, nor what is known already."""
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Linear(2, 2))
    nn.init.normal_(judge[1].weight, std=2.0)
    checks = replace(NO_CHECKS, net=judge.eval())

    def all_made() -> list[tuple[bytes | None, int]]:
        images = made(model, sources, 9, checks, candidates=3, method=method)
        return [(None if image.pixels is None else image.pixels.tobytes(), len(image.rejections)) for image in images]

    whole = all_made()
    assert 0 < sum(num_rejected for _, num_rejected in whole) < 9 * 8 * task.MAX_ATTEMPTS
    monkeypatch.setattr(task, "BLOCK", 15)
    monkeypatch.setattr(augment_sources, "MAX_KNOWN_BYTES", 300)
    assert all_made() == whole


def test_auto_is_the_first_method_that_can_be_used(model: Model) -> None:
    def methods(model: Model, labels: list[int]) -> list[str]:
        return [image.method for image in made(model, set_of(labels), 1)]

    vector, flowless = (
        tiny_model({"model": {"latents": list(VECTOR)}}, num_labels=2, has_flow=has_flow) for has_flow in (True, False)
    )
    assert methods(model, [0, 1, 0]) == ["style"] * 3
    assert methods(vector, [0, 1, 0]) == methods(flowless, [0, 1, 0]) == ["extrapolate"] * 3
    lonely = made(vector, set_of([0, 1, 0]), 1)[1]
    assert lonely.partner in (0, 2), "alone in its class, it is led away from any other image"
    with pytest.raises(ConfigError, match="one image is not enough"):
        made(vector, set_of([0]), 1)


# Near its source


@pytest.mark.parametrize("method", METHODS)
def test_strength_leads_away_from_the_reconstruction(model: Model, sources: ImageSet, method: str) -> None:
    rebuilt = np.stack(list(reconstruct(model, sources.pixels))).astype(float)

    def distance(strength: float) -> float:
        return float(np.abs(pixels_of(made(model, sources, 1, method=method, strength=strength)) - rebuilt).mean())

    assert distance(0) <= 0.01, "rounding at most"
    assert 0.2 < distance(0.3) < distance(1)


def test_partners_are_of_the_class_and_near(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = image_set(40, num_labels=2)
    small = thumbnails(sources.pixels)
    monkeypatch.setattr(augment_sources, "NUM_PARTNERS", 8)
    gaps, others = [], []
    for image in made(model, sources, 3, method="extrapolate"):
        assert image.partner != image.source
        assert sources.labels[image.partner] == sources.labels[image.source]
        gaps.append((small[image.partner] - small[image.source]).norm().item())
        others += [(small[position] - small[image.source]).norm().item() for position in range(40)]
    assert np.mean(gaps) < 0.7 * np.mean(others)


def test_arcs_lead_towards_the_partner_and_beyond_the_source(model: Model) -> None:
    """On the arc through both, where the flow's standardised latents are: the angle to the partner shrinks or grows."""
    torch.manual_seed(0)
    a, b = (Latents(tuple(torch.randn(3, *shape) for shape in model.vae.latent_shapes)) for _ in range(2))
    assert model.flow is not None

    def angles(latents: Latents, other: Latents) -> torch.Tensor:
        ours, others = (model.flow.standardise(each.noise[0]).flatten(1) for each in (latents, other))
        return torch.cosine_similarity(ours, others).acos()

    between, beyond = (task.along_arcs(a, b, torch.full((3,), share), model.flow) for share in (0.3, -0.3))
    whole = angles(a, b)
    assert torch.allclose(angles(between, b), 0.7 * whole, atol=1e-3)
    assert torch.allclose(angles(beyond, b), 1.3 * whole, atol=1e-3)
    for latents in (between, beyond):
        assert torch.allclose(angles(latents, a), 0.3 * whole, atol=1e-3)


def test_looks_come_from_images_of_any_class(model: Model) -> None:
    sources = image_set(10, num_labels=2)
    images = made(model, sources, 8, method="style")
    assert all(image.partner != image.source for image in images)
    same_class = [sources.labels[image.partner] == sources.labels[image.source] for image in images]
    assert 0.3 < np.mean(same_class) < 0.6, "four of nine"


@pytest.mark.parametrize("method", METHODS)
def test_one_more_image_changes_few_partners(model: Model, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(augment_sources, "NUM_PARTNERS", 1)
    sources = image_set(40)
    partners = [image.partner for image in made(model, sources, 1, method=method)]
    fewer = [image.partner for image in made(model, part_of(sources, list(range(39))), 1, method=method)]
    changed = sum(before != after for before, after in zip(fewer, partners, strict=False))
    assert changed <= 6 and len(set(partners)) > 15


# What is never kept


def test_near_copies_of_held_out_images_are_never_kept(model: Model, sources: ImageSet) -> None:
    """Two of the held-out images are what the sources look like, rebuilt; what is made of those has to go."""
    rebuilt = np.stack(list(reconstruct(model, sources.pixels)))
    checks = Checks(None, thumbnails(rebuilt[[1, 4]]), 12.0)
    images = made(model, sources, 6, checks, strength=0.3, method="extrapolate")
    dropped = [image for image in images if image.pixels is None]
    assert {1, 4} <= {image.source for image in dropped}
    assert all(image.rejections == (NEAR_HELD_OUT,) * task.MAX_ATTEMPTS for image in dropped)
    kept = [image for image in images if image.pixels is not None]
    small = thumbnails(pixels_of(kept))
    moved = (small - thumbnails(sources.pixels[[image.source for image in kept]])).norm(dim=1)
    nearest = torch.cdist(small, checks.held_out).amin(1)
    assert ((nearest >= 12) | (nearest >= moved)).all() and nearest.min() >= MIN_DISTANCE
    assert len(kept) + len(dropped) == 48 and len(kept) > 12


def test_near_a_held_out_image_but_nearer_to_its_source() -> None:
    """A blurred picture is near to many; a copy is not saved by a source that is one itself."""
    grey = [np.full((1, 8, 8, 1), level, np.uint8) for level in (100, 104, 110, 101)]
    new, source, held_out, twin = grey
    no_label = np.array([-1])
    assert Checks(None, thumbnails(held_out), 30.0).verdicts(new, source, no_label)[0].problem is None
    assert Checks(None, thumbnails(held_out), 30.0).verdicts(new, twin * 2, no_label)[0].problem == NEAR_HELD_OUT
    assert Checks(None, thumbnails(held_out), 5.0).verdicts(new, twin * 2, no_label)[0].problem is None
    assert Checks(None, thumbnails(twin), 0.0).verdicts(new, new, no_label)[0].problem == NEAR_HELD_OUT


def test_what_the_classifier_doubts_is_drawn_anew_and_nearer(
    model: Model, sources: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Moody(nn.Sequential):
        """Sure of an image's class from the third look on."""

        looks = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.looks += 1
            return torch.full((len(x), 2), 0.0) if self.looks > 2 else torch.tensor([[9.0, -9.0]]).repeat(len(x), 1)

    odd = part_of(sources, [1, 3])  # both of class 1
    monkeypatch.setattr("vae_cli.metrics.classifier._in_chunks", lambda net, pixels: net(torch.zeros(len(pixels))))
    images = made(model, odd, 1, replace(NO_CHECKS, net=Moody()), strength=1.0, method="extrapolate")
    assert [image.rejections for image in images] == [(UNSURE, UNSURE)] * 2
    assert all(image.verdict.confidence == pytest.approx(0.5) for image in images)
    never = made(
        model, odd, 1, replace(NO_CHECKS, net=Moody().requires_grad_(False)), strength=1.0, method="extrapolate"
    )
    rebuilt = np.stack(list(reconstruct(model, odd.pixels))).astype(float)
    first_try = pixels_of(made(model, odd, 1, strength=1.0, method="extrapolate"))
    assert np.abs(pixels_of(never) - rebuilt).mean() < np.abs(first_try - rebuilt).mean()


@pytest.mark.parametrize("method", METHODS)
def test_the_hardest_candidate_is_kept_that_still_passes(model: Model, sources: ImageSet, method: str) -> None:
    """A judge that is the less sure the brighter a picture is, and takes the brightest for another class."""

    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(40.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.zeros(len(x)), self.slope * (limit - x.mean((1, 2, 3)))], 1)

    odd = part_of(sources, [1, 3, 5, 7])  # all of class 1
    every = [made(model, odd, 1, seed=seed, strength=1.0, candidates=1, method=method) for seed in range(40)]
    brightness = np.stack([pixels_of(images).mean((1, 2, 3)) for images in every]) / 255  # [40, 4]
    limit = float(np.quantile(brightness, 0.8, axis=0).max())
    checks = replace(NO_CHECKS, net=nn.Sequential(Judge()))
    chosen = pixels_of(made(model, odd, 4, checks, strength=1.0, candidates=30, method=method)).mean((1, 2, 3)) / 255
    assert (chosen <= limit).all(), "none that it takes for the other class"
    usual, brightest = np.median(brightness, 0), np.where(brightness <= limit, brightness, 0).max(0)
    reached = (chosen.reshape(4, 4).mean(1) - usual) / (brightest - usual)
    assert (reached > 0.5).all(), "of the way from a usual picture to the hardest one that passes"


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_tell_classes_by_makes_one_candidate(model: Model, sources: ImageSet, method: str) -> None:
    """No classifier, or no label."""

    def num_made(images: ImageSet, net: nn.Sequential | None) -> int:
        numbers: list[int] = []

        class Counting(Checks):
            def verdicts(self, pixels: np.ndarray, sources: np.ndarray, labels: np.ndarray) -> list[Verdict]:
                numbers.append(len(pixels))
                return super().verdicts(pixels, sources, labels)

        made(model, images, 1, Counting(net, NO_CHECKS.held_out, 0.0), candidates=5, method=method)
        return sum(numbers)

    undecided = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    nn.init.zeros_(undecided[1].weight)  # both are equally likely, which is enough to pass
    nn.init.zeros_(undecided[1].bias)
    assert num_made(sources, None) == 8 and num_made(sources, undecided) == 40
    assert num_made(set_of([0, 0, 1, 1, -1, -1]), undecided) == 4 * 5 + 2


def test_the_classifier_learns_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright above, bright below: images of the other class are refused."""
    monkeypatch.setattr(classifier, "NUM_STEPS", 60)
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = random.integers(0, 60, (40, 8, 8, 1)).astype(np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        picture[4 * label : 4 * label + 4] += 150
    images = ImageSet(pixels, tuple(map(str, range(40))), labels)
    checks = prepare_checks(images, NOTHING_HELD_OUT)
    assert {verdict.problem for verdict in checks.verdicts(pixels, pixels, labels)} == {None}
    assert {verdict.problem for verdict in checks.verdicts(pixels, pixels, 1 - labels)} == {UNSURE}
    assert {verdict.problem for verdict in checks.verdicts(pixels, pixels, np.full(40, -1))} == {None}


def test_the_classifier_learns_the_longer_the_more_images_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to know most images, but not to be trained for hours."""
    steps = [num_steps(set_of([0] * count)) for count in (10, 16_000, 32_000, 10**6)]
    assert steps[0] == classifier.NUM_STEPS and steps[1] == 2000 and steps[2] == 4000 and steps[3] == MAX_STEPS
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(classifier, "NUM_STEPS", 3)
    monkeypatch.setattr(classifier, "BATCH_SIZE", 4)
    for count in (1, 4):
        images = set_of([0, 1] * count)
        prepare_checks(images, NOTHING_HELD_OUT, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(step, total) for total in (4, 16) for step in range(1, total + 1)]


def test_the_bound_is_what_training_images_keep_to() -> None:
    """The usual distance to held-out images, but for a hundredth; never less than what makes two images one."""
    images = image_set(30)
    checks = prepare_checks(images, image_set(33).pixels[30:])
    distances = torch.cdist(thumbnails(images.pixels), checks.held_out).amin(1)
    assert checks.net is None and checks.least_distance == pytest.approx(distances.quantile(0.01).item())
    twins = prepare_checks(images, images.pixels[:20])
    assert twins.least_distance == 0.0
    verdicts = twins.verdicts(images.pixels[:1], images.pixels[:1], np.array([-1]))
    assert verdicts[0].problem == NEAR_HELD_OUT and verdicts[0].held_out_distance == pytest.approx(0, abs=1e-6)


def test_thumbnails_are_distances_in_grey_levels() -> None:
    dark, light = np.full((1, 40, 24, 3), 10, np.uint8), np.full((1, 40, 24, 3), 35, np.uint8)
    small = thumbnails(np.concatenate([dark, light]))
    assert small.shape == (2, 16 * 16 * 3) and (small[0] - small[1]).norm().item() == pytest.approx(25, abs=1e-3)


# Other models, other data


def test_images_without_labels(model: Model) -> None:
    images = made(model, image_set(6), 2)
    assert len(pixels_of(images)) == 12
    assert {image.method for image in images} == {"style"}


def test_without_a_flow(sources: ImageSet) -> None:
    flowless = tiny_model(has_flow=False, num_labels=2)
    assert {image.method for image in made(flowless, sources, 3)} == {"style"}


def test_a_vector_has_no_look_of_its_own(sources: ImageSet) -> None:
    vector = tiny_model({"model": {"latents": list(VECTOR)}}, num_labels=2)
    with pytest.raises(ConfigError, match="style: needs two images, and a model of more than one vector"):
        augment(vector, sources, [1] * 8, NO_CHECKS, method="style")


def test_one_image_has_no_look_to_take_over(model: Model, sources: ImageSet) -> None:
    with pytest.raises(ConfigError, match="style: needs two images"):
        augment(model, part_of(sources, [3]), [1], NO_CHECKS, method="style")


def test_one_image_a_class_has_no_partner(model: Model) -> None:
    lonely = set_of([0, 1])
    assert {image.method for image in made(model, lonely, 12)} == {"style"}
    with pytest.raises(ConfigError, match="extrapolate: needs two images"):
        augment(model, lonely, [1, 1], NO_CHECKS, method="extrapolate")


def test_an_unknown_method(model: Model, sources: ImageSet) -> None:
    with pytest.raises(ConfigError, match="choose auto, style, extrapolate"):
        augment(model, sources, [1] * 8, NO_CHECKS, method="rotate")
