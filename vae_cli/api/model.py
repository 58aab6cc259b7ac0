"""A trained model as a Python object: every job that the commands do, on pictures in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vae_cli import checkpoint
from vae_cli.api.images import Images, Pictures, hole_in, pictures_in
from vae_cli.errors import ConfigError, DataError
from vae_cli.files.write_back import recoloured
from vae_cli.images.colours import WHITE, Colour, parse_color
from vae_cli.images.modes import eight_bits
from vae_cli.images.recipe import fit_to
from vae_cli.images.stored_values import as_grey, as_rgb
from vae_cli.jobs import latent_files
from vae_cli.jobs.evaluate import Evaluation
from vae_cli.jobs.open_model import open_model
from vae_cli.tasks import denoise as denoising
from vae_cli.tasks import encode as encoding
from vae_cli.tasks import inpaint as inpainting
from vae_cli.tasks import interpolate as interpolating
from vae_cli.tasks import reconstruct as reconstructing
from vae_cli.tasks import sample as sampling
from vae_cli.tasks import score as scoring
from vae_cli.tasks import style as styling
from vae_cli.tasks.conditional_draws import Method
from vae_cli.tasks.encode import Encoded
from vae_cli.windows.picture_noise import estimate_sigma

IMAGE_ID = "0"  # stands for the name of a file, on which the noise of an image depends: equal calls give equal pictures


class Model(checkpoint.Model):
    """A trained model. Pictures are given as paths, PIL images, NumPy arrays (uint8, or float in 0..1) or tensors
    [N, C, H, W], one or many, and come back as `Images`.

    Every method raises DataError for pictures that cannot be used and ConfigError for an argument that cannot be met,
    such as an unknown label.
    """

    def sample(
        self, num: int = 1, *, seed: int = 0, label: str | None = None, guidance: float | None = None,
        temperature: float = 1.0, prior: Literal["auto", "flow", "normal"] = "auto", solver_steps: int | None = None,
    ) -> Images:  # fmt: skip
        """New pictures [num, H, W, C]; picture i depends on (seed, i), the label and the model alone.

        guidance: how strictly the label, or in photographs what is typical, is followed; 1 = off, None = 2 where a
        label is given and for photographs, else 1.
        """
        drawn = sampling.sample(self, num, seed=seed, temperature=temperature, prior=prior, solver_steps=solver_steps,
                                labels=[label], guidance=guidance)  # fmt: skip
        return Images(list(drawn))

    def reconstruct(self, images: Pictures) -> Images:
        """The pictures encoded and decoded again, [N, H, W, C] at the model's size."""
        return Images(list(reconstructing.reconstruct(self, self._at_model_size(images))))

    def inpaint(
        self, image: Pictures, mask: Any, *, samples: int = 1, seed: int = 0, method: Method = "auto",
        feather: float = 0.0, solver_steps: int | None = None,
    ) -> Images:  # fmt: skip
        """Fills the hole of one picture of any size: [samples, H, W, C], different fills of the same hole.

        mask: white (or True) marks the hole, in the size of the picture or of the same shape. Every pixel outside the
        hole stays as it is, bit for bit. feather: pixels inside the hole over which the fill is blended in.
        """
        return _filled(self, image, mask, self.channels, self._background, seed=seed, samples=samples,
                       solver_steps=solver_steps, feather=feather, method=method)  # fmt: skip

    def denoise(self, images: Pictures, *, sigma: float | None = None, seed: int = 0, samples: int = 0) -> Images:
        """Pictures without their noise, [N, H, W, C] as large as they are; a grey model leaves colours as they are.

        sigma: standard deviation of the noise on the 0-255 scale, None = estimated for each picture. By default the
        mean of all that may lie under the noise; with `samples`, that many different answers to each picture.
        """
        return Images([
            _changed(picture, before, clean)
            for number, (picture, before) in enumerate(self._with_own_colours(images))
            for clean in denoising.denoise(
                self, before, sigma=estimate_sigma(before) if sigma is None else sigma, image_id=str(number),
                seed=seed, samples=samples,
            )
        ])  # fmt: skip

    def style(
        self, images: Pictures, *, to: str | None = None, like: Pictures | None = None,
        unlike: Pictures | None = None, strength: float | None = None, seed: int = 0,
    ) -> Images:  # fmt: skip
        """Pictures with another look, [N, H, W, C] as large as they are; a grey model changes brightness alone.

        to: the label that they are carried to. like: pictures whose look they take on instead; unlike: those whose
        look they give up, by default each one's own. strength: 0 keeps all of the content, 1 the least.
        """
        if (to is None) == (like is None) or (unlike is not None and like is None):
            raise ConfigError("style: give either to=LABEL, or like=PICTURES and perhaps unlike=PICTURES")
        pictures = self._with_own_colours(images)
        if to is not None:
            chosen = styling.LABEL_STRENGTH if strength is None else strength
            change: styling.Change = styling.to_label(self, to, strength=chosen, seed=seed, steps=styling.LABEL_STEPS)
        else:
            assert like is not None
            others = None if unlike is None else self._in_channels(unlike)
            chosen = styling.LIKE_STRENGTH if strength is None else strength
            change = styling.to_look(self, self._in_channels(like), others, strength=chosen)
        contents = [styling.Content(before, str(number)) for number, (_, before) in enumerate(pictures)]
        styled = styling.restyle(contents, change)
        return Images([_changed(*picture, each.pixels) for each, picture in zip(styled, pictures, strict=True)])

    def interpolate(
        self, *images: Pictures, steps: int = 9, mode: Literal["slerp", "lerp"] = "slerp", loop: bool = False
    ) -> Images:
        """A walk from each picture to the next, [N, H, W, C] at the model's size.

        steps: frames a segment, both ends counted. loop: back to the first picture at the end.
        """
        ends = np.concatenate([self._at_model_size(image) for image in images]) if images else np.empty(0)
        if len(ends) < 2 or steps < 2:
            raise ConfigError("interpolate: give two pictures or more, and at least two steps")
        latents = interpolating.ends_of_images(self, ends)
        return Images(list(interpolating.interpolate(self, latents, steps=steps, mode=mode, loop=loop)))

    def encode(self, images: Pictures) -> Encoded:
        """The latents of pictures: for each layer, coarse to fine, means and standard deviations [N, C, h, w]."""
        return encoding.encode_all(self, self._at_model_size(images))

    def decode(self, latents: Encoded | np.ndarray | Sequence[np.ndarray] | str | Path) -> Images:
        """The pictures of latents, [N, H, W, C]: of `encode`'s, or of an array a layer [N, C, h, w] or [N, C · h · w].

        An array [N, D] may hold all layers, one after another. Also of a file that `vae encode` has written. Raises
        DataError for other shapes.
        """
        if isinstance(latents, str | Path):
            latents = latent_files.read(Path(latents))
        arrays = latents.means if isinstance(latents, Encoded) else latents
        arrays = [arrays] if isinstance(arrays, np.ndarray) else list(arrays)
        return Images(list(encoding.decode(self, encoding.latents_from(arrays, self.vae.latent_shapes))))

    def evaluate(
        self, data: str | Path | None = None, *, importance_samples: int = 0, limit: int | None = None,
        holes: Literal["center", "half", "brush", "random", "scattered"] | None = None,
        feature_weights: str | Path | None = None, seed: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """The figures of `vae evaluate --json` on a folder, list, zip or tar; None = the images held out in training.

        importance_samples: of each image, for its likelihood; 0 = the bound alone. limit: at most so many images.
        holes: also the fills of such holes. feature_weights: the file of a network by whose features samples are
        compared with the images, or "auto" to train one on the run's own.
        """
        weights = None if feature_weights is None else str(feature_weights)
        folder = None if data is None else Path(data)
        return Evaluation(self, folder, importance_samples, limit, holes, None, weights, seed).run()

    def score(self, images: Pictures, *, normal: Pictures | None = None, seed: int = 0) -> list[dict[str, Any]]:
        """How usual each picture is: `elbo_nats`, `bits_per_dim`, `psnr_db`; with pictures that count as normal also
        its `strangeness`, how far its latents lie from the nearest of theirs as a multiple of what is usual there;
        `stranger_than`, the share of them that are less strange; and the number of the `nearest`. Raises DataError for
        what is no picture.
        """
        known = None if normal is None else scoring.KnownLatents.of(encoding.comparable(self.encode(normal).means))
        named = ((str(number), picture) for number, picture in enumerate(self._at_model_size(images)))
        return scoring.figures(self, list(scoring.score(self, named, seed=seed)), known)

    @property
    def _background(self) -> tuple[int, int, int]:
        return parse_color(self.config.data.background)

    def _in_channels(self, images: Pictures) -> list[np.ndarray]:
        """Each picture in its own size, with the model's channels."""
        return pictures_in(images, channels=self.channels, background=self._background)

    def _with_own_colours(self, images: Pictures) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each picture in colour if any of them is, else in grey; and with the model's channels."""
        pictures = pictures_in(images, channels=None, background=self._background)
        num = max(picture.shape[2] for picture in pictures)
        pictures = pictures_in(pictures, channels=num, background=self._background)
        return list(zip(pictures, self._in_channels(pictures), strict=True))

    def _at_model_size(self, images: Pictures) -> np.ndarray:
        """uint8 [N, H, W, C] as training would have read them."""
        fit, background = self.config.data.fit, self._background
        return np.stack(
            [fit_to(eight_bits(each), self.image_size, fit, background) for each in self._in_channels(images)]
        )


def inpaint(image: Pictures, mask: Any, *, method: Literal["classical"] = "classical", feather: float = 0.0) -> Images:
    """The hole of one picture filled smoothly from its surroundings, [1, H, W, C], which takes no model.

    The arguments are those of `Model.inpaint`. Raises DataError, and ConfigError for the methods that need a model.
    """
    return _filled(None, image, mask, 3, WHITE, feather=feather, method=method)


def _filled(
    model: Model | None, image: Pictures, mask: Any, channels: int, background: Colour, **options: Any
) -> Images:
    """channels, background: as the task takes the picture. options: of the task."""
    pictures = pictures_in(image, channels=None, background=background)
    if len(pictures) != 1:
        raise DataError(f"{len(pictures)} pictures where one is expected; pass them one by one")
    picture = pictures[0]
    hole = hole_in(mask, picture.shape[:2])
    (given,) = pictures_in(picture, channels=channels, background=background)
    fills = inpainting.inpaint(model, [inpainting.Picture(IMAGE_ID, given, hole)], **options)
    return Images([np.where(hole[:, :, None], _stored(fill.pixels, picture), picture) for fill in fills])


def _changed(picture: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The picture with what a model has made of `before`, which is the picture in the model's channels."""
    return _stored(recoloured(picture, before, after) if before.shape[2] < picture.shape[2] else after, picture)


def _stored(pixels: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Pixels in 0..255, grey or in colour, in the type and channels of the picture that they belong to."""
    flat, most = pixels.reshape(-1, pixels.shape[2]), np.iinfo(picture.dtype).max
    own = as_grey(flat)[:, None] if picture.shape[2] == 1 else as_rgb(flat)
    return np.rint(own * np.float32(most / 255)).clip(0, most).astype(picture.dtype).reshape(picture.shape)


def load(run: str | Path, *, device: str = "auto") -> Model:
    """The model of a run folder, a checkpoint folder or a weights file, or `photo`, ours; ready on a device.

    device: auto (cuda, then mps, then cpu), cpu, cuda, cuda:N or mps. Raises ConfigError for a path that does not
    exist or a device that this machine lacks, CheckpointError for a model that is damaged or of another format.
    """
    return Model(**vars(open_model(Path(run), device)))
