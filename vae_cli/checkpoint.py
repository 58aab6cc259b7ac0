"""Models on disk and in memory: the one place that writes, reads and assembles them.

A checkpoint is a folder of `model.safetensors` (averaged weights of VAE and flow, the configuration in its header),
`config.json` (the same facts, and checksums of the files) and, where training can go on from it, `trainer.pt`.
Nothing in it can run code, and it is written whole or not at all.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vae_cli.checkpoint_folders import (
    HEADER_KEY,
    INSTEAD,
    TRAINER,
    WEIGHTS,
    Choice,
    bare,
    choose_weights,
    require_whole,
    seal,
    step_folders,
    write_folder,
)
from vae_cli.config import CompleteConfig, from_dict
from vae_cli.config_autoencoder import LadderNets
from vae_cli.errors import CheckpointError, ConfigError, first_line
from vae_cli.model.clusters import config_has_layouts
from vae_cli.model.flow import LatentFlow, build_flow
from vae_cli.model.pretrained_vae import build_pretrained_vae
from vae_cli.model.vae import VAE, build_vae
from vae_cli.printable import is_text, shortened
from vae_cli.randomness import INITIAL_WEIGHTS, image_generator
from vae_cli.runtime import Runtime, Undrawn, load_saved

CLUSTER_FORMAT, LAYOUT_FORMAT = 5, 6  # of models whose samples start from clusters and, one later, from layouts


@dataclass(frozen=True)
class Facts:
    """What a checkpoint says about itself."""

    config: CompleteConfig
    label_names: tuple[str, ...]
    label_images: tuple[int, ...]  # training images of each label, and last those without one
    step: int
    phase: str  # `vae` or `flow`: what was being trained
    weights_sha256: str = ""  # `digest` of the weights beside it; `write_checkpoint` sets it

    def as_json(self, **more: Any) -> str:
        names = ("step", "phase", "label_names", "label_images", "weights_sha256")
        facts = {"format_version": format_of(self.config), **{name: getattr(self, name) for name in names},
                 "config": self.config.as_dict(), **more}  # fmt: skip
        # all ASCII, because names of folders may hold bytes that are no UTF-8
        return json.dumps(facts | {"sha256": seal(facts)}, indent=1)

    @staticmethod
    def from_json(text: str, path: Path) -> "Facts":
        """Inverse of `as_json`. Raises CheckpointError naming `path` for anything else, and for another version."""
        try:
            facts = json.loads(text)
            version = facts["format_version"]
            other = CheckpointError(f"{path}: a model of format {shortened(version)}, this version reads "
                                    f"{CLUSTER_FORMAT} and, of photographs, {LAYOUT_FORMAT};",
                                    "use the version of vae that made it, or train it again")  # fmt: skip
            is_known = version in (CLUSTER_FORMAT, LAYOUT_FORMAT)
            if is_known and facts.pop("sha256", None) not in (None, seal(facts)):
                raise CheckpointError(f"{path}: damaged (its description is not as written); {INSTEAD}")
            if not is_known or version != format_of(config := from_dict(facts["config"], CompleteConfig)):
                raise other
            names, counts, step = facts["label_names"], facts["label_images"], facts["step"]
            if not (isinstance(names, list) and all(map(is_text, names))):
                raise ValueError("label_names: not a list of names")
            if not (isinstance(counts, list) and len(counts) == len(names) + 1 and all(map(_is_count, counts))):
                raise ValueError(f"label_images: not the {len(names) + 1} counts of images of {len(names)} labels")
            if not _is_count(step) or facts["phase"] not in ("vae", "flow"):
                raise ValueError("step or phase: none that a training has")
            return Facts(config, tuple(names), tuple(counts), step, facts["phase"], str(facts["weights_sha256"]))
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
            raise CheckpointError(f"{path}: not the description of a model ({first_line(error)})") from error


def format_of(config: CompleteConfig) -> int:
    """The version of the format that models of this configuration are written in."""
    return LAYOUT_FORMAT if config_has_layouts(config.model.latents, config.data.image_size) else CLUSTER_FORMAT


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


@dataclass(frozen=True)
class Model:
    """A trained model, ready for the tasks; modules in eval mode on the runtime's device."""

    facts: Facts
    vae: VAE
    flow: LatentFlow | None
    path: Path
    runtime: Runtime
    remarks: tuple[str, ...] = ()  # where not the weights were taken that were to be expected

    @property
    def config(self) -> CompleteConfig:
        return self.facts.config

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.facts.label_names

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.vae.image_size

    @property
    def channels(self) -> int:
        return self.vae.channels

    @property
    def num_parameters(self) -> int:
        """Of VAE and flow together."""
        return count_parameters(self.vae, self.flow)


def count_parameters(*modules: nn.Module | None) -> int:
    return sum(parameter.numel() for module in modules if module is not None for parameter in module.parameters())


def named_weights(vae: Mapping[str, Tensor], flow: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A copy of both states in one dictionary on the CPU, names prefixed `vae.` and `flow.`."""
    tensors = {f"vae.{name}": value for name, value in vae.items()}
    tensors |= {f"flow.{name}": value for name, value in (flow or {}).items()}
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def weights_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part whose names begin with `vae.` or `flow.`, without that prefix."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, kinds, shapes and values, so that a single flipped bit in a file is noticed."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha256.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha256.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def write_checkpoint(
    folder: Path, facts: Facts, weights: Mapping[str, Tensor], trainer: Mapping[str, Any] | None
) -> None:
    """Write a checkpoint folder, or replace one, whole or not at all. Raises WriteError."""
    facts = replace(facts, weights_sha256=digest(weights))

    def contents() -> Iterator[tuple[str, bytes | memoryview]]:
        yield WEIGHTS, weights_file(facts, weights)
        if trainer is not None:
            content = io.BytesIO()  # written to the disk itself, torch would tell of a full one in its own words
            torch.save(dict(trainer), content)
            yield TRAINER, content.getbuffer()

    write_folder(folder, contents(), lambda sums: facts.as_json(files=sums).encode())


def weights_file(facts: Facts, weights: Mapping[str, Tensor]) -> bytes:
    """The content of `model.safetensors`; the facts already hold the digest of the weights.

    Its header also says `format: pt`, by which other programs know whose tensors they are. It is put in by hand, as
    safetensors would write several entries in random order: equal models, equal files.
    """
    content = memoryview(save(dict(weights), metadata={HEADER_KEY: facts.as_json()}))
    start = 8 + int.from_bytes(content[:8], "little")  # of the tensors
    header = json.loads(bytes(content[8:start]))
    header["__metadata__"] = {"format": "pt"} | header["__metadata__"]
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors begin at a multiple of eight
    return b"".join((len(text).to_bytes(8, "little"), text, content[start:]))


@contextmanager
def _opened(path: Path, problem: str = "not a readable weights file") -> Iterator[tuple[Any, Facts]]:
    """A weights file and what it says about itself. Raises CheckpointError, naming the problem if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
            if header is None or HEADER_KEY not in header:
                raise CheckpointError(f"{path}: a safetensors file, but not one that vae wrote")
            yield file, Facts.from_json(header[HEADER_KEY], path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {problem} ({error}); {INSTEAD}") from error


def read_facts(weights_path: Path) -> Facts:
    """Configuration and labels from the header of a weights file. Raises CheckpointError."""
    with _opened(weights_path) as (_, facts):
        return facts


def read_weights(path: Path) -> tuple[Facts, dict[str, Tensor]]:
    """What a weights file says about itself, and its tensors. Raises CheckpointError unless both are as written."""
    with _opened(path, "damaged") as (file, facts):  # once: a training may be about to replace it
        _outlined(file, facts, path)  # before anything is made of a size that a stranger has chosen
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
    if facts.weights_sha256 != digest(tensors) or not all(bool(each.isfinite().all()) for each in tensors.values()):
        raise CheckpointError(f"{path}: damaged (not the weights as written); {INSTEAD}")
    return facts, tensors


def read_model(run: Path) -> tuple[Choice, Facts, dict[str, Tensor]]:
    """The weights that RUN stands for, those that scored best even where only `trainer.pt` still holds them.

    Raises ConfigError, CheckpointError.
    """
    choice = choose_weights(run)
    facts, tensors = read_weights(choice.path)
    if choice.remarks and (choice.path.parent / TRAINER).exists():
        trainer = _read_trainer(choice.path.parent)
        stored, step = trainer.get("best"), trainer.get("best_step")
        best = {f"{facts.phase}.{name}": value for name, value in stored.items()} if isinstance(stored, dict) else {}
        shapes = {name: getattr(value, "shape", None) for name, value in best.items()}
        fitting = {name: tensors[name].shape for name in best if name in tensors}
        if best and isinstance(step, int) and step >= 0 and shapes == fitting:
            tensors |= {name: value.contiguous() for name, value in best.items()}  # as files hold them
            facts = replace(facts, step=step, weights_sha256=digest(tensors))
            choice = Choice(choice.path, (*choice.remarks[:-1], f"{choice.remarks[-1]} that scored best"))
    return choice, facts, tensors


def load_model(run: Path, runtime: Runtime) -> Model:
    """The model of a run folder, checkpoint folder or weights file. Raises ConfigError, CheckpointError."""
    (path, remarks), facts, tensors = read_model(run)
    vae, flow = build_modules(facts, has_flow=any(name.startswith("flow.") for name in tensors))
    vae.load_state_dict(weights_under("vae.", tensors))
    if flow is not None:
        flow.load_state_dict(weights_under("flow.", tensors))
    for module in (vae, flow):
        if module is not None:
            runtime.place(module.eval().requires_grad_(False))
    return Model(facts, vae, flow, path, runtime, remarks)


def build_modules(facts: Facts, *, has_flow: bool) -> tuple[VAE, LatentFlow | None]:
    """The modules that the facts describe, with the weights that training starts from, a function of its seed."""
    config = facts.config
    seeds = [image_generator(config.training.seed, INITIAL_WEIGHTS, number).initial_seed() for number in (0, 1)]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds[0])  # not torch.manual_seed, which would seed every device
        is_ours = isinstance(config.model.nets, LadderNets)
        vae = build_vae(config) if is_ours else build_pretrained_vae(config)
        torch.default_generator.manual_seed(seeds[1])
        flow = build_flow(config, vae.latent_shapes[0], len(facts.label_names)) if has_flow else None
    return vae, flow


def outline(path: Path) -> Model:
    """The model of a weights file on the meta device: without weights, for its sizes. Raises CheckpointError.

    Only the trust in fills is read, as it says what to expect of the model.
    """
    with _opened(path) as (file, facts):
        vae, flow = _outlined(file, facts, path)
        if flow is not None:
            flow.fill_weight = file.get_tensor("flow.fill_weight")
        return Model(facts, vae, flow, path, Runtime(torch.device("meta")))


def _outlined(file: Any, facts: Facts, path: Path) -> tuple[VAE, LatentFlow | None]:
    """The modules that an open weights file describes, on the meta device, where they need no memory.

    Raises CheckpointError unless the file's tensors are theirs by name, kind (or bfloat16 for short) and shape.
    """
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
    try:
        with torch.device("meta"), Undrawn():
            vae, flow = build_modules(facts, has_flow=any(name.startswith("flow.") for name in slices))
    except (ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{path}: describes a model that cannot be built ({error})") from error
    states = {"vae": vae.state_dict(), "flow": flow.state_dict() if flow else {}}
    wanted = {f"{part}.{name}": list(value.shape) for part, state in states.items() for name, value in state.items()}
    is_float = all(piece.get_dtype() in ("F32", "BF16") for piece in slices.values())
    if not is_float or wanted != {name: piece.get_shape() for name, piece in slices.items()}:
        raise CheckpointError(f"{path}: the weights do not fit the model described in the file")
    return vae, flow


@dataclass(frozen=True)
class Resumable:
    """The newest whole checkpoint of a run, with everything that training needs to go on."""

    facts: Facts
    weights: dict[str, Tensor]
    trainer: dict[str, Any]
    problems: tuple[str, ...] = ()  # with newer ones


def load_resumable(run: Path) -> Resumable:
    """The newest step checkpoint that is whole; damaged ones are passed over. Raises CheckpointError."""
    problems: list[str] = []
    for folder in reversed(step_folders(run)):
        try:
            require_whole(folder)
            facts, weights = read_weights(folder / WEIGHTS)
            return Resumable(facts, weights, _read_trainer(folder), tuple(problems))
        except CheckpointError as error:
            problems.append(bare(error))
    problem = problems[0] if problems else "no complete checkpoint"
    raise CheckpointError(f"{run}: cannot be resumed: {problem}; start again with --overwrite")


def _read_trainer(folder: Path) -> dict[str, Any]:
    """Raises CheckpointError."""
    try:
        trainer = load_saved(folder / TRAINER)
        if not isinstance(trainer, dict):
            raise TypeError("no dictionary")
        return trainer
    except Exception as error:  # torch.load raises pickle, zip, key, runtime … errors on files that are none of ours
        raise CheckpointError(f"{folder / TRAINER}: damaged ({type(error).__name__}); {INSTEAD}") from error
