"""Writes what the program answers today to golden.npz: `python -m tests.golden.record [NAME …]`, from the repository's
root; with names, such as `train`, only those answers, beside which the machine that gave them is kept.

Only where a change of method is meant to change the answers, which belongs into the message of that commit.
"""

import os
import sys
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
        names, found = set(sys.argv[1:]), {"machine": np.array(machine())}
        if names:
            with np.load(GOLDEN) as stored:
                found = {key: stored[key] for key in stored if key.partition(":")[0] not in names}
            found |= {f"machine:{name}": np.array(machine()) for name in names}
        found |= {f"{name}:{key}": stored_form(name, array) for name, compute in all_arrays(Path(folder))
                  if not names or name in names for key, array in compute().items()}  # fmt: skip
    np.savez_compressed(GOLDEN, **found)
    print(f"{len(found)} arrays, {GOLDEN.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
