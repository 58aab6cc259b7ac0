"""The shape of the repository: imports go down, nothing heavy happens on import, and files stay small."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "vae_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = {
    "presets": 0, "printable": 0, "randomness": 0, "stopping": 0, "errors": 0.5, "atomic": 1, "config_values": 1,
    "config_autoencoder": 1.5, "pretrained": 1, "locks": 1, "ranks": 1, "company": 1, "checkpoint_folders": 2,
    "config": 2, "config_layers": 3, "config_text": 4, "runtime": 2, "images": 3, "dataset": 4, "files": 4,
    "foreign_errors": 3, "model": 4, "metrics": 5,
    "autoencoder_folder": 5, "checkpoint": 5, "training": 6, "windows": 6, "tasks": 7,
    "drawing": 8, "jobs": 9, "screen": 10, "api": 11, "cli": 11,
}  # fmt: skip
"""A room may import those with a smaller number, and itself."""
TOP_LEVEL = {"vae_cli", "tests", "sample_configs", "pyproject.toml", "README.md", "LICENSE", ".gitignore", ".ci"}
CACHES = {".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "__pycache__", "build", "dist", "runs",
          "vae_cli.egg-info", ".venv"}  # fmt: skip
MAX_LINES = 330


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere, `from a import b` as `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    relative = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom) and node.level]  # fmt: skip
    assert not relative, "imports are absolute"
    if room in ("__init__", "__main__"):
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "vae_cli" or parts[1] not in LAYERS or parts[1] == room:
            continue
        assert LAYERS[parts[1]] < LAYERS[room], f"{room} must not know {name}"


def test_no_circles() -> None:
    """Neither between rooms nor between the files of one; an import inside a function counts like any other."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    needs = {name: {found for other in imported(path) for found in (other, other.rpartition(".")[0])
                    if found in modules and found != name and found != "vae_cli"}
             for name, path in modules.items()}  # fmt: skip
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(reversed(error.args[1]))}")


def test_every_room_has_its_layer() -> None:
    assert {room_of(path) for path in FILES} <= {*LAYERS, "__init__", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_small_files_without_click_or_stray_prints(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
    assert not {name for name in imported(path) if name.split(".")[0] == "click"}
    if room_of(path) == "cli":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_the_command_line_imports_no_torch() -> None:
    code = "import sys, vae_cli.cli.app; sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_is_light() -> None:
    """A notebook that only wants to know what there is pays for nothing."""
    code = (
        "import sys, vae_cli; dir(vae_cli); print(*{'torch', 'numpy', 'pydantic', 'PIL', 'typer'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stdout + result.stderr


def test_what_tests_and_benchmarks_import_exists() -> None:
    """Benchmarks are no part of the test run, and a name that has moved would be noticed only when one is needed."""
    defined = {path: _top_level_names(path) for path in FILES}
    missing = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for name in imported(path):
            module, _, attribute = name.rpartition(".")
            home = ROOT / Path(*module.split("."))
            file = home.with_suffix(".py") if home.with_suffix(".py") in defined else home / "__init__.py"
            is_module = (home / f"{attribute}.py").exists() or (home / attribute).is_dir()
            if module.startswith("vae_cli") and not is_module and attribute not in defined.get(file, ()):
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def _top_level_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def test_the_top_level_is_tidy() -> None:
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    tracked = {line.split("/")[0] for line in listing.stdout.splitlines()} if listing.returncode == 0 else set()
    present = tracked or {path.name for path in ROOT.iterdir()} - CACHES
    assert present <= TOP_LEVEL, f"does not belong here: {sorted(present - TOP_LEVEL)}"
    assert {"vae_cli", "tests", "pyproject.toml"} <= present
