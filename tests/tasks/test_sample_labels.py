"""Drawing by label: rows are what each label alone would draw, names are found, and figures are kept apart."""

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import image_set, tiny_model

from vae_cli.checkpoint import Model
from vae_cli.errors import ConfigError
from vae_cli.metrics.extractors import Extractor
from vae_cli.model.flow import GUIDANCE
from vae_cli.tasks import evaluate as module
from vae_cli.tasks.evaluate import evaluate, label_accuracy
from vae_cli.tasks.sample import chosen_labels, label_number, sample


@pytest.fixture(scope="module")
def model() -> Model:
    """Labels a, b and c; clusters 0 and 1 under a, 2 and 3 under b, all under c."""
    made = tiny_model({"model": {"flow": {"clusters": 4}}}, num_labels=3)
    assert made.flow is not None
    made.flow.centroids.normal_(generator=torch.Generator().manual_seed(0))
    made.flow.cluster_counts[:3] = made.flow.cluster_counts.new_tensor([[9, 5, 0, 0], [0, 0, 4, 9], [1, 1, 1, 1]])
    made.flow.cluster_counts[-1] = 10
    return made


def named(model: Model, *names: str, counts: tuple[int, ...] = ()) -> Model:
    counts = counts or (1,) * len(names) + (0,)
    return replace(model, facts=replace(model.facts, label_names=names, label_images=counts))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_each_row_is_what_its_label_alone_draws(model: Model, guidance: float) -> None:
    """Over the border between chunks of 64, too."""
    drawn = np.stack(list(sample(model, 30, labels=["c", "a", "b"], seed=3, guidance=guidance)))
    assert drawn.shape == (90, 8, 8, 1)
    for row, label in enumerate(("c", "a", "b")):
        alone = np.stack(list(sample(model, 30, seed=3, labels=[label], guidance=guidance)))
        np.testing.assert_array_equal(drawn[30 * row : 30 * row + 30], alone)
    assert len({drawn[start : start + 30].tobytes() for start in (0, 30, 60)}) == 3, "the label has no influence"


def test_no_label_is_a_row_like_others(model: Model) -> None:
    drawn = list(sample(model, 2, labels=[None, "b"], seed=1))
    np.testing.assert_array_equal(drawn[:2], list(sample(model, 2, seed=1)))
    np.testing.assert_array_equal(drawn[2:], list(sample(model, 2, seed=1, labels=["b"])))


def test_all_stands_for_every_label_that_was_seen(model: Model) -> None:
    assert chosen_labels(model, ["all"]) == ["a", "b", "c"]
    assert chosen_labels(model, ["b", "all", "b"]) == ["b", "a", "c"]
    assert chosen_labels(model, []) == []
    assert chosen_labels(named(model, "a", "all", "c"), ["all"]) == ["all"], "a class of that name wins"
    unseen = named(model, "a", "b", "c", counts=(4, 0, 3, 2))
    assert chosen_labels(unseen, ["all"]) == ["a", "c"]
    with pytest.raises(ConfigError, match="no training image"):
        chosen_labels(unseen, ["b"])
    with pytest.raises(ConfigError, match="no training image"):
        chosen_labels(named(model, "a", "b", "c", counts=(0, 0, 0, 9)), ["all"])
    with pytest.raises(ConfigError, match="without labels"):
        chosen_labels(named(model), ["all"])


def test_names_that_differ_in_case_or_spelling(model: Model) -> None:
    known = named(model, "Coat", "coat", unicodedata.normalize("NFD", "käse"))
    assert [label_number(known, name) for name in ("Coat", "coat", "käse")] == [0, 1, 2]
    with pytest.raises(ConfigError, match="did you mean Coat"):
        label_number(known, "COAT")
    with pytest.raises(ConfigError, match="did you mean coat"):
        label_number(known, "caot")
    with pytest.raises(ConfigError, match=r"known: c0, .*c11, …"):
        label_number(named(model, *(f"c{number}" for number in range(13))), "zebra")


def test_numbers_and_none_are_names(model: Model) -> None:
    known = named(model, "-1", "none", "0")
    assert [label_number(known, name) for name in known.label_names] == [0, 1, 2]


def test_samples_are_counted_by_label(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in that takes every image for b."""
    seen: list[np.ndarray] = []

    def takes_all_for_b(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return np.ones(len(pixels), np.int64)

    extractor = Extractor("stand-in", 1, lambda pixels: pytest.fail("no features are needed"), takes_all_for_b)
    monkeypatch.setattr(module, "MOST_LABEL_SAMPLES", 21)
    found = label_accuracy(model, extractor, seed=4)
    assert found == {"a": 0.0, "b": 1.0, "c": 0.0}
    np.testing.assert_array_equal(seen[2], list(sample(model, 7, seed=4, labels=["c"], guidance=GUIDANCE)))
    with pytest.raises(ValueError, match="no classes"):
        label_accuracy(model, replace(extractor, classify=None))


def test_figures_of_each_label_make_up_the_whole(model: Model) -> None:
    images = image_set(70, num_labels=2)
    labels = np.where(np.arange(70) < 65, images.labels, -1)
    found = evaluate(model, images.pixels, labels=labels)
    assert {name: figures["images"] for name, figures in found["per_label"].items()} == {"a": 33, "b": 32}
    assert found["per_label"]["a"]["psnr_db"] != found["per_label"]["b"]["psnr_db"]
    labelled = evaluate(model, images.pixels[:65], labels=labels[:65])
    for name in ("elbo_nats", "psnr_db", "ssim"):
        mean = sum(figures[name] * figures["images"] for figures in labelled["per_label"].values()) / 65
        assert mean == pytest.approx(labelled[name], rel=1e-6)
    assert {**found, "per_label": None} == evaluate(model, images.pixels, labels=np.full(70, -1))
    assert evaluate(model, images.pixels)["per_label"] is None
