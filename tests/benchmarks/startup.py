"""How soon `vae --help` answers: best and median of 20 runs under 0.25 s; and what the help says.

    python tests/benchmarks/startup.py --work FOLDER [--runs 20]

Wall time of `python -m vae_cli --help` as a new process, files warm after a first run that does not count. Also: torch
is not imported by it, and the text of every command's help (what stands before its arguments and options) ends with an
example of that command.
"""

import re
import statistics
import subprocess
import sys
import time

import common

from vae_cli.cli.app import COMMANDS

TARGETS = (
    common.Target("best_seconds", 0.25),
    common.Target("median_seconds", 0.25),
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
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    seconds = []
    for _ in range(args.runs + 1):
        start = time.perf_counter()
        answer(common.vae_command("--help"))
        seconds.append(time.perf_counter() - start)
    best, median = min(seconds[1:]), statistics.median(seconds[1:])
    imports_torch = "True" in answer([sys.executable, "-c", ASK_FOR_TORCH]).stderr
    lacking = []
    for name in COMMANDS:
        printed = answer(common.vae_command(name, "--help")).stdout
        text = re.split(r"\n(?:Arguments|Options|Common options):\n", printed)[0]
        last_paragraph = " ".join(text.strip().split("\n\n")[-1].split())
        if not last_paragraph.startswith(f"Example: vae {name} "):
            lacking.append(name)
    common.table([("vae --help", "seconds"), ("best", best), ("median", median)])
    print(f"torch imported: {imports_torch}; commands without an example: {', '.join(lacking) or 'none'}")
    common.finish(
        "startup",
        {"best_seconds": best, "median_seconds": median, "torch_imported": int(imports_torch),
         "commands_without_example": len(lacking), "lacking": lacking, "seconds": seconds[1:]},
        targets=TARGETS,
        protocol={"runs": args.runs, "commands": list(COMMANDS)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
