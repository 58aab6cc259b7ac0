"""800 bad command lines of all commands: each refused with the right code, in time and without a traceback.

    python tests/benchmarks/command_lines.py --work FOLDER [--lines 800] [--seconds 60]

The lines are those of tests/bad_command_lines.py, drawn with --seed, half of them with --json; each runs in a process
of its own, forked from this one, which has imported everything. A line is violated when the program does not end within
--seconds, leaves with another code than 2, 3 or 4, shows a traceback, a raw control character or more than three lines
of error, or prints anything but one JSON object on stdout where that was asked for.
"""

import os
import random
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import common
import forks

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bad_command_lines import complaint, lines, make_places, placed

HANGING = "has not ended in time"
TARGETS = (common.Target("violated", 0), common.Target("hanging", 0))


def problem_of(words: list[str], args: Namespace, folder: Path) -> str | None:
    """What is wrong with how a process refuses the line."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = forks.start(words, common.environment(args.work), out=out.fileno(), err=err.fileno(), folder=folder)
        process.join(args.seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            return HANGING
        said = [os.pread(file.fileno(), 1 << 24, 0).decode() for file in (out, err)]
    return complaint(process.exitcode, *said, as_json="--json" in words)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--lines", type=int, default=800, help="command lines (default 800)")
    parser.add_argument("--seconds", type=float, default=60, help="patience with each (default 60)")
    args = parser.parse_args()
    forks.import_all()
    every = lines()
    chosen = random.Random(args.seed).sample(every, min(args.lines, len(every)))
    violated, hanging = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        places = make_places(Path(folder))
        for number, line in enumerate(chosen):
            first, *others = placed(line, places)
            words = [first, "--json", *others] if number % 2 else [first, *others]
            problem = problem_of(words, args, Path(folder))
            hanging += problem == HANGING
            if problem:
                violated += 1
                print(f"{problem}: {' '.join(ascii(word) for word in words)[:300]}", flush=True)
    figures = {"lines": len(chosen), "of": len(every), "violated": violated, "hanging": hanging}
    common.table([("lines", "violated", "hanging"), (len(chosen), violated, hanging)])
    common.finish("command_lines", figures, targets=TARGETS, protocol={"seed": args.seed, "seconds": args.seconds})


if __name__ == "__main__":
    main()
