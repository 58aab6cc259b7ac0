"""The program without a new interpreter: importing torch takes longer than most of what it does in tests."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from vae_cli.cli.app import app, main

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "vae_cli.cli.train", "vae_cli.jobs.train", "vae_cli.training.loop"])


def run_program(words: list[str], cache: Path) -> Result:
    """What it has printed, run in the process of the tests; fails unless it leaves with 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_CACHE", str(cache))
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return result


class Program:
    """The program in a process of its own, forked off one that has imported everything; used as a Popen.

    prepare: called in the new process before the program begins; a function of a module.
    """

    def __init__(
        self, words: Sequence[str], output: Path, environment: Mapping[str, str],
        prepare: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self._output = [output.with_suffix(suffix) for suffix in (".out", ".err")]
        self._process = FORKS.Process(target=_run, args=(words, self._output, dict(environment), prepare))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = 180) -> tuple[str, str]:
        """What it has printed on both streams, once it has ended."""
        self._process.join(timeout)
        assert self.poll() is not None, "it does not end"
        out, errors = (path.read_text() for path in self._output)
        return out, errors


def _run(
    words: Sequence[str], output: Sequence[Path], environment: dict[str, str], prepare: Callable[[], object] | None
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(output, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    torch.set_num_threads(1)
    sys.argv = ["vae", *words]
    if prepare is not None:
        prepare()
    main()
