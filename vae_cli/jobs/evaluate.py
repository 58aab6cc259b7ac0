"""A model measured on images: on DATA, or on those that were held out when it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vae_cli.checkpoint import Model
from vae_cli.dataset.cache import ImageSet, load_images
from vae_cli.dataset.ordered_threads import OnProgress
from vae_cli.dataset.split import id_hash, lowest_hashes
from vae_cli.drawing.grids import grid
from vae_cli.errors import ConfigError, VaeError, first_line
from vae_cli.files.new_pictures import save_picture
from vae_cli.images.image_ref import ImageRef
from vae_cli.images.recipe import ImageRecipe
from vae_cli.jobs.events import Advanced, FileDone, Remark, Report
from vae_cli.jobs.inputs import announce_stored_data, scan_as_trained
from vae_cli.jobs.model_warnings import few_active_line, few_measured_line
from vae_cli.metrics import classifier
from vae_cli.metrics.extractors import Extractor, open_extractor
from vae_cli.printable import printable
from vae_cli.tasks import evaluate as task
from vae_cli.tasks.evaluate_holes import NUM_FILLS, draw_holes, figures_of, fill_holes
from vae_cli.training.inputs import TrainingInputs
from vae_cli.training.prepare import is_grey_to_bernoulli, prepare

AUTO = "auto"
"""As feature weights: a classifier is trained for the purpose."""
NUM_TRAINING_MEASURED = 256
MAX_GAP_DB = 3.0
"""Training images rebuilt with less than half the squared error of held-out ones are known by heart."""
MAX_COPIED_SHARE, MIN_IMAGES_FOR_PERCENTILE = 0.1, 100
NUM_SHEET_ROWS = 12


@dataclass(frozen=True)
class Evaluation:
    """What is measured on the images of `data`; without it on those that were held out when the model was trained.

    importance_samples: of each image, for its likelihood; 0 = the bound alone. limit: at most so many images. holes: a
    family of `dataset.random_masks`, whose fills are measured and drawn on the `sheet`. feature_weights: the file of a
    network, or AUTO, by whose features samples are compared with the images. workers: threads that read images. report:
    takes progress, remarks and the images that cannot be read.
    """

    model: Model
    data: Path | None = None
    importance_samples: int = 0
    limit: int | None = None
    holes: str | None = None
    sheet: Path | None = None
    feature_weights: str | None = None
    seed: int = 0
    workers: int = 2
    report: Report = lambda _: None

    def run(self) -> dict[str, Any]:
        """Every figure under its name in the JSON object.

        Raises ConfigError where the run's own images are needed and cannot be read, where there is nothing to compare
        samples with, and where holes are to be filled without a flow; DataError where no image can be used.
        """
        own = self._own_images()
        images = self._images_of(self.data) if self.data is not None else self._held_out(own)
        compared = self._compare(images, own) if self.feature_weights is not None else {}
        facts = self._measure(images, own if self.data is None else None)
        if self.holes is not None:
            compared["inpaint"] = {"family": self.holes, **self._measure_holes(images, self.holes)}
        if accuracies := compared.pop("accuracies", {}):
            facts["label_accuracy"] = sum(accuracies.values()) / len(accuracies)
            facts["per_label"] = facts["per_label"] or {}
            for name, share in accuracies.items():
                facts["per_label"].setdefault(name, {"images": 0})["label_accuracy"] = share
        return facts | compared

    def _own_images(self) -> TrainingInputs | None:
        """The run's training and held-out images with their labels, where they are of use."""
        is_needed = self.data is None or self.feature_weights == AUTO
        if not is_needed and self.feature_weights is None:
            return None
        config = self.model.config
        if config.data.labels == "none":  # the model has no use for labels, but a classifier has
            config = config.updated({"data": {"labels": "auto"}})
        try:
            announce_stored_data(config, self.report)
            return prepare(config, workers=self.workers, on_progress=self._read)
        except VaeError as error:
            if is_needed:
                others = "this run's own images are needed; or give others: vae evaluate RUN DATA"
                raise ConfigError(first_line(error), others) from error
            self._say("the run's training images cannot be read: no check for copies of them")
            return None

    def _held_out(self, own: TrainingInputs | None) -> ImageSet:
        """The run's held-out images, the N lowest hashes of them if limited."""
        assert own is not None, "they are needed"
        images = own.validation
        if self.limit is None or self.limit >= len(images.ids):
            return images
        chosen = sorted(sorted(range(len(images.ids)), key=lambda n: id_hash(images.ids[n]))[: self.limit])
        ids = tuple(images.ids[index] for index in chosen)
        return replace(images, pixels=images.pixels[chosen], ids=ids, labels=images.labels[chosen])

    def _images_of(self, data: Path) -> ImageSet:
        """DATA's test split where its folders name one, else validation, else everything; never the sheet."""
        model, exclude = self.model, [self.sheet] if self.sheet else []
        found = scan_as_trained(data, model, exclude=exclude)
        for note in found.notes:
            self._say(note)
        refs: Sequence[ImageRef] = found.images
        for split in ("test", "validation"):
            if part := tuple(ref for ref in found.images if ref.split == split):
                self._say(f"{printable(data)}: measuring its {split} split, {len(part)} of {len(refs)} images")
                refs = part
                break
        refs = lowest_hashes(refs, self.limit) if self.limit else refs
        images = load_images(refs, ImageRecipe.of(model.config.data), label_names=model.label_names,
                             workers=self.workers, on_progress=partial(self._read, "read"))  # fmt: skip
        for skipped in (*found.skipped, *images.skipped):
            self.report(FileDone(skipped.id, "failed", reason=skipped.reason))
        for note in images.notes:
            self._say(note)
        return images

    def _measure(self, images: ImageSet, own: TrainingInputs | None) -> dict[str, Any]:
        """The figures of the images and, where these are the run's own, how well its training images are rebuilt."""
        model, labels = self.model, images.labels
        if own is not None:  # whose classes may have come and gone since training
            known = {name: number for number, name in enumerate(model.label_names)}
            labels = np.array([*(known.get(name, -1) for name in own.label_names), -1])[labels]  # -1 takes the last
        facts = task.evaluate(model, images.pixels, labels=labels, importance_samples=self.importance_samples,
                              seed=self.seed, on_progress=self._part("evaluate", len(images.pixels)))  # fmt: skip
        for line in (few_measured_line(len(images.pixels)), few_active_line(facts, model.config)):
            if line:
                self._say(line, "warning")
        if is_grey_to_bernoulli(model.config, images.pixels):
            grey = "this model knows black and white pixels, and these are grey: its nats are no log-probabilities"
            self._say(grey, "warning")
            facts |= {"nll_nats": None, "bits_per_dim": None}
        if own is None:
            return facts | {"training_psnr_db": None}
        step = -(-len(own.train.pixels) // NUM_TRAINING_MEASURED)
        training_psnr_db = task.evaluate(model, own.train.pixels[::step], seed=self.seed)["psnr_db"]
        gap_db = training_psnr_db - facts["psnr_db"]
        if gap_db > MAX_GAP_DB:
            self._say(f"training images are rebuilt {gap_db:.1f} dB better than held-out ones: the model knows them by "
                      "heart; train on more images, for fewer steps or with --set model.dropout=0.1",
                      "warning")  # fmt: skip
        return facts | {"training_psnr_db": training_psnr_db}

    def _compare(self, images: ImageSet, own: TrainingInputs | None) -> dict[str, Any]:
        """Distances of samples from the images and from those that the model was trained on."""
        model, count, of_classifier = self.model, task.num_compared(len(images.pixels)), dict[str, Any]()
        if self.feature_weights == AUTO and own is not None:
            extractor, of_classifier = self._train_classifier(own)
        else:
            extractor = open_extractor(Path(self.feature_weights or ""), channels=model.channels,
                                       image_size=model.image_size, device=model.runtime.device)  # fmt: skip
        self._say(f"comparing {count} samples with {count} images by {extractor.num_features} features "
                  f"of {printable(extractor.name)}")  # fmt: skip
        if count <= extractor.num_features:
            few = f"{count} images are few for {extractor.num_features} features: trust kid rather than fid"
            self._say(few, "warning")
        distances = task.compare_samples(
            model, images.pixels, extractor, training=own.train.pixels if own is not None else None,
            held_out=own.validation.pixels if own is not None and self.data is not None else None, seed=self.seed,
            on_progress=self._part("compare", 2 * count),
        )  # fmt: skip
        share = distances.get("nearest_training", {}).get("share_below_1_percent", 0.0)
        if count >= MIN_IMAGES_FOR_PERCENTILE and share > MAX_COPIED_SHARE:
            self._say(f"{share:.0%} of the samples are nearer to a training image than 99 % of held-out images are: "
                      "copies rather than new images; train on more images or for fewer steps",
                      "warning")  # fmt: skip
        return distances | of_classifier

    def _train_classifier(self, own: TrainingInputs) -> tuple[Extractor, dict[str, Any]]:
        """Its features; and the shares of held-out images and of each label's samples that it names rightly."""
        model, on_progress = self.model, self._part("train a classifier", classifier.NUM_STEPS, "steps")
        extractor, share_right = task.classifier_extractor(model, own.train, own.validation, seed=self.seed,
                                                           on_progress=on_progress)  # fmt: skip
        self._say(f"the classifier names {share_right:.1%} of the held-out images rightly")
        figures: dict[str, Any] = {"classifier_accuracy": share_right}
        if model.flow is not None and model.label_names == own.label_names:
            on_progress = self._part("samples of labels", len(model.label_names))
            figures["accuracies"] = task.label_accuracy(model, extractor, seed=self.seed, on_progress=on_progress)
        return extractor, figures

    def _measure_holes(self, images: ImageSet, family: str) -> dict[str, float]:
        """How near fills come to what was there; draws the sheet: before, mask, after, truth."""
        num, found, rows = len(images.pixels), list[dict[str, float]](), list[np.ndarray]()
        shown = np.linspace(0, num - 1, min(num, NUM_SHEET_ROWS)).astype(int)
        on_progress = self._part(f"fill {family} holes", num * NUM_FILLS, "fills")
        holes = draw_holes(family, num, self.model.image_size, self.seed)
        for number, filled in enumerate(fill_holes(self.model, images.pixels, holes, seed=self.seed)):
            found.append(figures_of(filled))
            if self.sheet is not None and number in shown:
                hole = np.broadcast_to(filled.hole[:, :, None], filled.image.shape)
                mask = np.where(hole, np.uint8(255), np.uint8(0))
                rows += [np.where(hole, np.uint8(128), filled.image), mask, filled.fills[0], filled.image]
            on_progress((number + 1) * NUM_FILLS, num * NUM_FILLS)
        if self.sheet is not None:
            save_picture(grid(rows, num_columns=4), self.sheet, seed=self.seed)
        return {name: sum(figures[name] for figures in found) / num for name in found[0]}

    def _say(self, text: str, kind: Any = "note") -> None:
        self.report(Remark(text, kind))

    def _read(self, what: str, done: int, total: int) -> None:
        self.report(Advanced(what, done, total, is_over=done == total))

    def _part(self, what: str, total: int, unit: str = "images") -> OnProgress:
        """Reports that a part of the job begins; returns what takes how far it is."""

        def reach(done: int, of: int) -> None:
            self.report(Advanced(what, done, of, unit, is_over=done == of))

        reach(0, total)
        return reach
