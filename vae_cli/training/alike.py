"""Whether all ranks are about to train the same: their images and settings, compared before the first update."""

import hashlib
from collections.abc import Iterable, Iterator

from vae_cli import __version__
from vae_cli.config_values import flattened
from vae_cli.dataset.stored_pixels import checksums
from vae_cli.errors import ConfigError
from vae_cli.runtime import of_all_ranks
from vae_cli.training.inputs import TrainingInputs

_MAY_DIFFER = {"training.threads", "data.path"}
_MAX_NAMED = 3  # differences


def require_alike(inputs: TrainingInputs, node: str) -> None:
    """Raises ConfigError, on all ranks, where one has read other images than rank 0 or has other settings.

    node: what this machine is called.
    """
    (_, of_main), *others = of_all_ranks((node, dict(_facts(inputs))))
    for rank, (name, facts) in enumerate(others, start=1):
        differing = [key for key in of_main | facts if of_main.get(key) != facts.get(key)]
        if differing:
            told = [_difference(key, facts.get(key), of_main.get(key)) for key in differing[:_MAX_NAMED]]
            more = f" and {len(differing) - _MAX_NAMED} more" if len(differing) > _MAX_NAMED else ""
            raise ConfigError(f"rank {rank} on {name} differs from rank 0 in: {', '.join(told)}{more};",
                              "give every node the same images, settings and versions of all packages")  # fmt: skip


def _difference(key: str, own: object, of_main: object) -> str:
    return key if isinstance(own, bytes) else f"{key} ({own}, not {of_main})"


def _facts(inputs: TrainingInputs) -> Iterator[tuple[str, object]]:
    """What has to be the same everywhere; bytes are digests."""
    yield "version of vae", __version__
    yield from ((key, value) for key, value in flattened(inputs.config.as_dict()).items() if key not in _MAY_DIFFER)
    yield "labels", inputs.label_names
    sets = {"training images": inputs.train, "held-out images": inputs.validation, "close-ups": inputs.patches}
    for name, images in sets.items():
        if images is not None:
            yield f"number of {name}", len(images.ids)
            yield f"names of {name}", _digest(image_id.encode("utf-8", "surrogatepass") for image_id in images.ids)
            yield f"labels of {name}", _digest([images.labels.tobytes()])
            yield f"pixels of {name}", _digest([checksums(images.pixels).tobytes()])


def _digest(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part + b"\0")
    return digest.digest()
