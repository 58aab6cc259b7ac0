"""Writes what the program answers today to golden.npz: `python -m tests.golden.record`, from the repository's root.

Only where a change of method is meant to change the answers, which belongs into the message of that commit.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from .jobs import all_arrays, machine
from .test_golden import GOLDEN, stored_form


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_CACHE"] = str(Path(folder) / "cache")
        found = {f"{name}:{key}": stored_form(name, array)
                 for name, compute in all_arrays(Path(folder)) for key, array in compute().items()}  # fmt: skip
    np.savez_compressed(GOLDEN, machine=np.array(machine()), **found)
    print(f"{len(found)} arrays, {GOLDEN.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
