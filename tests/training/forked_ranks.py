"""Trains a tiny model with as many gloo ranks as asked for, forks of one process: python forked_ranks.py NUM FOLDER."""

import os
import sys
import time
from pathlib import Path

import torch
from tiny import tiny_config, tiny_inputs

from vae_cli.config import Layer
from vae_cli.runtime import Runtime
from vae_cli.training.loop import train
from vae_cli.training.training_run import open_run

LAYER: Layer = {"training": {"steps": 8, "batch_size": 12, "flow_share": 0.5, "save_every": 8, "validate_every": 8}}


def main() -> None:
    num, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    rank = next((rank for rank in range(1, num) if os.fork() == 0), 0)
    if num > 1:
        store = torch.distributed.FileStore(str(folder / "meeting"), num)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=num)
    runtime = Runtime(torch.device("cpu"), rank=rank, world_size=num)
    inputs = tiny_inputs(tiny_config(LAYER), num_labels=2, runtime=runtime)
    for _ in train(open_run(inputs, folder, started=time.monotonic())):
        pass
    if num > 1:
        torch.distributed.barrier()
    os._exit(0)  # a fork must not end what it has inherited


if __name__ == "__main__":
    main()
