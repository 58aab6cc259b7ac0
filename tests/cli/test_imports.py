"""What a short command loads beside torch, which takes most of its time."""

import os
import subprocess
import sys
from pathlib import Path

ASK = """
import sys
import torch
before = {*sys.modules}
sys.argv = ["vae", "sample", "photo", "-n", "1", "--prior", "normal", "--device", "cpu", "--out", sys.argv[1]]
from vae_cli.cli.app import main
try:
    main()
finally:
    print(*sorted({*sys.modules} - before), file=sys.stderr)
"""
MAY_LOAD = {"vae_cli", "typer", "pydantic", "pydantic_core", "annotated_types", "annotated_doc", "typing_inspection",
            "PIL", "numpy", "yaml", "safetensors", "scipy", "shellingham", "defusedxml", "_distutils_hack"}  # fmt: skip
MOST_OF_TORCH, MOST = 10, 300
"""Modules: of torch beyond its own start, and in all."""


def test_a_short_command_loads_little_beside_torch(tmp_path: Path) -> None:
    """torch loads its compiler, seconds long, for some functions of tensors without memory; scipy and rich can wait."""
    asked = [sys.executable, "-c", ASK, str(tmp_path / "a.png")]
    result = subprocess.run(asked, capture_output=True, text=True, timeout=300,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert result.returncode == 0, result.stderr
    loaded = result.stderr.splitlines()[-1].split()
    foreign = {name.split(".")[0] for name in loaded} - MAY_LOAD - {"torch"} - sys.stdlib_module_names
    foreign -= {name for name in foreign if name.startswith("_cy")}  # parts of scipy
    assert not foreign, f"also loaded: {foreign}"
    of_torch = [name for name in loaded if name.split(".")[0] == "torch"]
    assert len(of_torch) < MOST_OF_TORCH and not {"torch._dynamo", "scipy.ndimage"} & {*loaded}, of_torch
    assert len(loaded) < MOST, f"{len(loaded)} modules"
