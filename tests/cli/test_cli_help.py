"""Help, version and the start of the program."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vae_cli import __version__
from vae_cli.cli.app import COMMANDS

from .conftest import COLOUR_VARIABLES

HEAVY = ("torch", "torchvision", "numpy", "PIL", "rich")


def run_python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PY_COLORS")}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


IMPORTED_AFTER_HELP = """
import sys
from vae_cli.cli.app import main
try:
    main()
except SystemExit as end:
    print("loaded:", end.code, *[name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize("words", [(), *[(command,) for command in COMMANDS]])
def test_help_is_quick_and_has_an_example(words: tuple[str, ...]) -> None:
    heavy = HEAVY if words else (*HEAVY, "pydantic", "yaml")
    outcome = run_python(IMPORTED_AFTER_HELP.format(heavy=heavy), *words, "--help")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.endswith("loaded: 0\n"), "help imports heavy packages"
    assert "Example: vae " in outcome.stdout
    assert outcome.stdout.startswith(f"Usage: {' '.join(('vae', *words))} [OPTIONS]")


@pytest.mark.parametrize("line", ["nonsense", "--bogus", "sample --bogus", "sample", "denoise runs/a", "train --out",
                                  "style a b --quiet --strengh 1"])  # fmt: skip
def test_a_usage_error_is_told_at_once(line: str) -> None:
    """Before Typer loads pydantic, which takes as long as everything else together."""
    outcome = run_python(IMPORTED_AFTER_HELP.format(heavy=(*HEAVY, "pydantic", "yaml")), *line.split())
    assert outcome.stdout == "loaded: 2\n"
    assert re.match("error: (No such|Missing argument|Option '--out' requires)", outcome.stderr), outcome.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(vae, command: str) -> None:
    assert COMMANDS[command] in vae(command, "--help").stdout
    assert re.search(rf"{command} +{re.escape(COMMANDS[command])}", vae("--help").stdout)


def test_only_the_command_that_is_used_is_imported() -> None:
    code = IMPORTED_AFTER_HELP.format(heavy=tuple(f"vae_cli.cli.{command}" for command in COMMANDS))
    assert run_python(code, "--help").stdout.endswith("loaded: 0\n")
    assert run_python(code, "info", "--help").stdout.endswith("loaded: 0 vae_cli.cli.info\n")


def test_the_shell_completes_what_is_being_typed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(run)
    for typed, expected in (
        ("vae tra", ["train"]),
        ("vae train --pres", ["--preset"]),
        ("vae train --preset s", ["small"]),
        ("vae train --set training.b", ["training.batch_size="]),
        ("vae sample ru", ["runs/tiny"]),
        ("vae info ph", ["photo"]),
        ("vae sample runs/tiny --label c", ["cat"]),
        ("vae style runs/tiny pictures --to d", ["dog"]),
        ("vae sample nowhere --label c", []),
    ):
        variables = {"_VAE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        code = IMPORTED_AFTER_HELP.format(heavy=("torch",)).replace('"loaded:", ', "").replace("end.code, ", "")
        outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                                 cwd=tmp_path, env={**os.environ, **variables})  # fmt: skip
        assert outcome.stdout.split() == expected, (typed, outcome)


def test_help_and_version_as_commands(vae) -> None:
    assert vae("help", "train").stdout == vae("train", "--help").stdout != ""
    assert vae("help").stdout == vae("--help").stdout
    assert vae("version").stdout == vae("--version").stdout == f"vae {__version__}\n"
    assert vae("help", "nonsense").code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_speaks_of_no_types_and_lists_rarer_options_below(vae, command: str) -> None:
    text = vae(command, "--help").stdout
    assert not re.search(
        r"<path>|list\[|\bPath\b|<=x|x>=|\[required\]|INTEGER|FLOAT\b|TEXT\b|\{|\[\[", text.replace("{stem}", "")
    )
    titles = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert titles == sorted(titles, key=["Arguments", "Options", "Tuning", "Common options"].index)


@pytest.mark.parametrize("command", COMMANDS)
def test_common_options_are_everywhere(vae, command: str) -> None:
    text = vae(command, "--help").stdout
    for option in ("--device", "--seed", "--json", "--quiet", "-q", "--verbose", "-v", "--debug"):
        assert option in text, option
    reads_images = command not in ("compare", "config", "export", "info", "masks", "report")
    assert ("--batch-size" in text) == reads_images
    assert ("--overwrite" in text) == (command not in ("check", "config", "info"))


def test_version_and_module_entry() -> None:
    outcome = subprocess.run([sys.executable, "-m", "vae_cli", "--version"], capture_output=True, text=True, check=True)
    assert outcome.stdout.startswith("vae ")


def test_bare_program_shows_its_help(vae) -> None:
    outcome = vae()
    assert outcome.code == 2 and "Commands:" in outcome.stderr and not outcome.stdout


def test_machine_facts(vae) -> None:
    facts = vae("info", "--json").json
    assert facts["status"] == "ok" and facts["cores"] >= 1 and facts["precision"] in ("float32", "bfloat16")
    assert {"torch", "vae-cli", "python"} <= set(facts["versions"])
    assert "torch" in vae("info").stdout


def test_file_names_that_no_terminal_can_show(tmp_path: Path) -> None:
    """An ASCII-only terminal and bytes that are no UTF-8: escaped, never a crash."""
    name = os.fsdecode(b"\xff\xc3\xa9") + "é.png"
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    command = [sys.executable, "-m", "vae_cli", "check", str(tmp_path / name)]
    outcome = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert outcome.returncode == 2 and outcome.stderr.startswith(b"error: ")


def check_on_a_terminal(photos: Path, **variables: str) -> tuple[str, str]:
    """What `vae check` writes to a terminal on stderr, and to a pipe on stdout."""
    terminal, its_end = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in (*COLOUR_VARIABLES, "NO_COLOR")}
    command = [sys.executable, "-m", "vae_cli", "check", str(photos)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=its_end, env={**environment, "TERM": "xterm", **variables}
    ) as process:
        os.close(its_end)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
            while part := os.read(terminal, 4096):
                seen += part
        os.close(terminal)
        assert process.stdout
        return seen.decode(), process.stdout.read().decode()


def test_a_terminal_gets_a_bar(photos: Path) -> None:
    bar, result = check_on_a_terminal(photos)
    assert "\x1b[3" in bar and "12/12" in bar and "12 usable" in result and "\x1b" not in result
    colourless, _ = check_on_a_terminal(photos, NO_COLOR="1")
    assert "12/12" in colourless and not re.search(r"\x1b\[[0-9;]*m", colourless)
    dumb, _ = check_on_a_terminal(photos, TERM="dumb")
    assert "12/12" in dumb and "\x1b" not in dumb
