"""Two nodes of two ranks each: network namespaces joined by a cable, or, where those are not permitted, what launchers
say of nodes and a cache for each."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from program import Program
from tiny import pictures

from vae_cli.checkpoint import load_resumable
from vae_cli.checkpoint_folders import checkpoints_in
from vae_cli.images.recipe import ImageRecipe

NUM_IMAGES, PATIENCE = 24, 300


def count_and_enter(node: str | None) -> None:
    """The program tells what each rank decodes, and runs in the network namespace of its node."""
    decode = ImageRecipe.decode

    def counted(recipe: ImageRecipe, source: Any) -> Any:
        with open(os.environ["DECODED"], "a") as file:
            file.write(f"{os.environ['RANK']} {source.id}\n")
        return decode(recipe, source)

    ImageRecipe.decode = counted
    if node is not None:
        with open(f"/run/netns/{node}") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


@pytest.fixture
def nodes() -> Iterator[tuple[list[str | None], dict[str, str]]]:
    """The network namespace of each node, and where rank 0 is to be found from all."""
    names, cable = [f"vae-{os.getpid()}-{end}" for end in "ab"], [f"v{os.getpid()}{end}" for end in "ab"]

    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0

    try:
        is_possible = sys.platform == "linux" and all(ip("netns", "add", name) for name in names)
        is_possible = is_possible and ip("link", "add", cable[0], "type", "veth", "peer", "name", cable[1])
    except FileNotFoundError:
        is_possible = False
    if not is_possible:
        for name in names if sys.platform == "linux" and os.path.exists("/sbin/ip") else ():
            ip("netns", "del", name)
        yield [None, None], {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
        return
    try:
        for number, (name, end) in enumerate(zip(names, cable, strict=True), start=1):
            assert ip("link", "set", end, "netns", name)
            assert ip("-n", name, "link", "set", end, "name", "cable")
            assert ip("-n", name, "address", "add", f"169.254.77.{number}/30", "dev", "cable")
            assert ip("-n", name, "link", "set", "cable", "up") and ip("-n", name, "link", "set", "lo", "up")
        yield [*names], {"MASTER_ADDR": "169.254.77.1", "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": "cable"}
    finally:
        for name in names:
            ip("netns", "del", name)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_nodes_prepare_once_each_and_stop_together(
    nodes: tuple[list[str | None], dict[str, str]], tmp_path: Path
) -> None:
    """Each node decodes each image once, half of them on each of its ranks; a signal to the last rank saves once."""
    namespaces, meeting = nodes
    for number, picture in enumerate(pictures(NUM_IMAGES, (8, 8), 3)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "photos" / f"{number:02d}.png")
    run, log, decoded = tmp_path / "run", tmp_path / "run" / "metrics.jsonl", tmp_path / "decoded"
    words = ["train", str(tmp_path / "photos"), "--preset", "tiny", "--steps", "100000", "--device", "cpu", "--out",
             str(run), "--json", "--channels", "3", "--image-size", "8", "--set", "training.batch_size=8",
             "--set", "training.log_every=1", "--set", "training.precision=float32"]  # fmt: skip

    def start(rank: int) -> Program:
        node = rank // 2
        place = {"RANK": rank, "WORLD_SIZE": 4, "LOCAL_RANK": rank % 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": node}
        surroundings = {**os.environ, **meeting, "OMP_NUM_THREADS": "1", "VAE_CACHE": str(tmp_path / f"cache-{node}"),
                        "DECODED": str(decoded), **{name: str(value) for name, value in place.items()}}  # fmt: skip
        return Program(words, tmp_path / f"rank-{rank}", surroundings, partial(count_and_enter, namespaces[node]))

    ranks = [start(rank) for rank in range(4)]
    try:
        deadline = time.monotonic() + PATIENCE
        while not (log.exists() and b'"step": 2' in log.read_bytes()):
            assert time.monotonic() < deadline, "no update was logged"
            assert all(rank.poll() is None for rank in ranks), [rank.communicate() for rank in ranks]
            time.sleep(0.05)
        ranks[3].send_signal(signal.SIGTERM)
        answers = [rank.communicate(timeout=PATIENCE) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.poll() for rank in ranks] == [143] * 4, answers
    answer = json.loads(answers[0][0])
    assert answer["status"] == "interrupted" and [out for out, _ in answers[1:]] == [""] * 3
    assert [path.name for path in checkpoints_in(run)] == [f"step-{answer['steps']:08d}"]
    assert load_resumable(run).facts.step == answer["steps"]
    lines = [line.split() for line in decoded.read_text().splitlines()]
    for node in (0, 1):
        of_node = [(rank, name) for rank, name in lines if int(rank) // 2 == node]
        assert Counter(name for _, name in of_node) == {f"{number:02d}.png": 1 for number in range(NUM_IMAGES)}
        shares = Counter(rank for rank, _ in of_node)
        assert max(shares.values()) - min(shares.values()) <= 2, "the work is not shared"
