"""Wrote the golden checkpoint of this folder; run once when a format is new, never again."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1]))


def main() -> None:
    from tiny import filled, pictures, tiny_model, weights_of

    from vae_cli.checkpoint import format_of, write_checkpoint
    from vae_cli.tasks.reconstruct import reconstruct
    from vae_cli.tasks.sample import sample

    torch.manual_seed(0)
    ladder = [{"stride": 4, "layers": 1, "channels": 2}, {"stride": 2, "layers": 1, "channels": 1}]
    small = {"model": {"latents": ladder, "flow": {"width": 8}}}
    model = tiny_model(small, num_labels=2)
    version = format_of(model.config)
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / "step", model.facts, weights_of(model.vae, model.flow), None)
        shutil.copy(Path(folder) / "step" / "model.safetensors", FOLDER / f"format-{version}.safetensors")
    answers = {
        "normal": next(sample(model, 1, seed=3, prior="normal", solver_steps=3)),
        "flow": next(sample(model, 1, seed=3, prior="flow", solver_steps=3, labels=["b"])),
        "rebuilt": next(reconstruct(model, pictures(1))),
        "filled": filled(model),
    }
    as_lists = {name: picture[..., 0].tolist() for name, picture in answers.items()}
    (FOLDER / f"format-{version}.json").write_text(json.dumps(as_lists) + "\n")


if __name__ == "__main__":
    main()
