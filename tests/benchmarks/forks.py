"""Processes of `vae` forked from this one, which has imported all of it: half of a small command's time is imports.

They are processes like any other, with signals, exit codes, streams and locks of their own.
"""

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch._dynamo  # which optimisers import, for a second

import vae_cli


def import_all() -> None:
    """Everything that commands import when they are used; to be called once, before the first fork."""
    torch.set_num_threads(1)  # a pool of threads would not outlive a fork
    for module in pkgutil.walk_packages(vae_cli.__path__, "vae_cli."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)


def start(
    words: Sequence[object],
    surroundings: Mapping[str, str],
    *,
    out: int,
    err: int,
    folder: Path = Path(),
    first: Callable[[], None] | None = None,
) -> BaseProcess:
    """`vae WORDS` with these variables and file descriptors as stdout and stderr; `first` is called in it before."""
    sys.stdout.flush()
    command = [str(word) for word in words]
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(command, dict(surroundings), out, err, folder, first)
    )
    process.start()
    return process


def _run(
    words: list[str],
    surroundings: dict[str, str],
    out: int,
    err: int,
    folder: Path,
    first: Callable[[], None] | None,
) -> None:
    from vae_cli.cli.app import main

    os.environ.clear()
    os.environ.update(surroundings)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(folder)
    sys.argv = ["vae", *words]
    if first is not None:
        first()
    main()
