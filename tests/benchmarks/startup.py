"""How soon `vae --help`, `--version` and usage errors answer: best of 20 runs within 0.12 s; and what the help says.

    python tests/benchmarks/startup.py --work FOLDER [--runs 20]

Wall time of `python -m vae_cli ...` as a new process, files warm after a first run that does not count. Also: torch
is not imported by the help, and the text of every command's help (what stands before its arguments and options) ends
with an example of that command.
"""

import re
import statistics
import subprocess
import sys
import time

import common

from vae_cli.cli.app import COMMANDS

LINES = {"help": ["--help"], "version": ["--version"], "unknown_command": ["nonsense"],
         "unknown_option": ["sample", "--bogus"], "missing_argument": ["sample"]}  # fmt: skip
TARGETS = (
    *(common.Target(f"{name}_seconds", 0.12) for name in LINES),
    common.Target("torch_imported", 0),
    common.Target("commands_without_example", 0),
)
ASK_FOR_TORCH = """
import runpy, sys
sys.argv = ["vae", "--help"]
try:
    runpy.run_module("vae_cli", run_name="__main__")
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--runs", type=int, default=20, help="timed runs (default 20)")
    args = parser.parse_args()
    environment = common.environment(args.work)

    def answer(command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    seconds: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(args.runs + 1):
        for name, words in LINES.items():
            start = time.perf_counter()
            answer(common.vae_command(*words))
            seconds[name].append(time.perf_counter() - start)
    best = {f"{name}_seconds": min(each[1:]) for name, each in seconds.items()}
    medians = [statistics.median(each[1:]) for each in seconds.values()]
    imports_torch = "True" in answer([sys.executable, "-c", ASK_FOR_TORCH]).stderr
    lacking = []
    for name in COMMANDS:
        printed = answer(common.vae_command(name, "--help")).stdout
        text = re.split(r"\n(?:Arguments|Options|Common options):\n", printed)[0]
        last_paragraph = " ".join(text.strip().split("\n\n")[-1].split())
        if not last_paragraph.startswith(f"Example: vae {name} "):
            lacking.append(name)
    common.table([("seconds", "best", "median"), *zip(LINES, best.values(), medians, strict=True)])
    print(f"torch imported: {imports_torch}; commands without an example: {', '.join(lacking) or 'none'}")
    common.finish(
        "startup",
        {**best, "torch_imported": int(imports_torch), "commands_without_example": len(lacking), "lacking": lacking,
         "seconds": seconds},
        targets=TARGETS,
        protocol={"runs": args.runs, "commands": list(COMMANDS)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
