"""The page about a run: what it shows, and that damaged files of the run cannot break it."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_cli.drawing.run_page import Card, run_page
from vae_cli.training.run_record import MEASURED, read_record

FACTS = {"step": 90, "phase": "flow", "has_flow": True, "image_size": [8, 6], "channels": 3, "labels": ["<cat>", "dog"],
         "parameters": 1234, "latent_shapes": [[2, 2, 1]]}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "my <run>"
    (run / "previews").mkdir(parents=True)
    for name in ("samples", "map", "step-00000050-samples"):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(run / "previews" / f"{name}.png")
    lines = [{"step": step, "phase": "vae", "elbo_nats": -100.0 + step, "active_units": step} for step in range(9)]
    lines += [{"step": step, "phase": "vae", "validation_loss": 99.0 - step} for step in range(0, 9, 2)]
    lines += [{"step": 95, "phase": MEASURED, "weights_step": 90, "psnr_db": 21.25, "images": 17, "bits_per_dim": None}]
    lines += [{"step": 95, "phase": MEASURED, "weights_step": 80, "psnr_db": 77.5}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = {"path": "/photos", "training_images": 5, "notes": ["a & b"], "skipped": [{"id": "x<y", "reason": "empty"}]}
    (run / "data.json").write_text(json.dumps(data))
    return run


def text_of(run: Path) -> str:
    cards = [Card("Rebuilds <all>", "21.2 dB", "soft & dark")]
    commands = ["vae sample 'my <run>'"]
    return "".join(run_page(read_record(run), FACTS, cards=cards, commands=commands, config_yaml="width: 3\n",
                            version="9.9"))  # fmt: skip


def test_everything_of_a_run_is_shown_and_nothing_is_loaded(folder: Path) -> None:
    text = text_of(folder)
    assert text.count("data:image/png;base64,") == 3 and "step 50" in text
    assert text.count("<svg role=") == 3, "the bound, the score, the active units; no other figures were logged"
    order = [text.index(words) for words in ("21.2 dB", "New images, drawn", "How training went", "To repeat it")]
    assert order == sorted(order), "the summary first, then pictures, curves, and how to repeat it"
    assert "77.5" not in text, "figures of other weights"
    for words in ("21.25", "17", "/photos", "width: 3", "vae 9.9", "–"):
        assert words in text
    assert not re.search(r"(?:src|href)=\"(?!data:)|https?:|url\(|@import", text)


def test_names_and_labels_are_text(folder: Path) -> None:
    text = text_of(folder)
    for words in ("my &lt;run&gt;", "&lt;cat&gt;, dog", "Rebuilds &lt;all&gt;", "soft &amp; dark", "x&lt;y",
                  "a &amp; b"):  # fmt: skip
        assert words in text
    assert "<cat>" not in text and "<run>" not in text


def test_no_name_hides_or_turns_round_what_stands_beside_it(folder: Path) -> None:
    hostile = "a\x1b[2J\u202egnp.b\0"
    (folder / "data.json").write_text(json.dumps({"path": hostile, "notes": [hostile], "skipped": [{"id": hostile}]}))
    text = text_of(folder)
    assert text.count("a\\x1b[2J\\u202egnp.b\\x00") == 3 and not re.search("[\x00\x1b\u202e]", text)


def test_damaged_files_are_left_out(folder: Path) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "phase": "vae", "elbo_na\nnull\n[1]\n{"phase": "vae"}\n')
        file.write('{"step": 9, "phase": "vae", "elbo_nats": NaN}\n{"step": 9, "phase": "vae", "elbo_nats": 1.7e308}\n')
    (folder / "previews" / "samples.png").write_bytes(b"no picture")
    (folder / "previews" / "step-best-samples.png").write_bytes(b"someone else's")
    for content in ("{", '{"notes": null, "skipped": 3}'):
        (folder / "data.json").write_text(content)
        text = text_of(folder)
        assert text.count("data:image/png;base64,") == 2 and text.count("<svg role=") == 3
        assert ">unknown<" in text and "built-in" not in text
    for path in (folder / "metrics.jsonl", folder / "data.json"):
        path.unlink()
    assert "21.2 dB" in text_of(folder)


def test_wide_pictures_are_made_to_fit(folder: Path) -> None:
    for name in ("samples", "step-00000050-samples"):
        Image.fromarray(np.zeros((2200, 2200), np.uint8)).save(folder / "previews" / f"{name}.png")
    widths = [int(width) for width in re.findall(r'<img [^>]*width="(\d+)"', text_of(folder))]
    assert widths == [1100, 480, 250]


def test_early_samples_are_labelled_as_such(folder: Path) -> None:
    for step in (4, 8, 12, 60):
        shutil.copy(folder / "previews" / "samples.png", folder / "previews" / f"step-{step:08d}-samples.png")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps({"step": step, "phase": "flow", "flow_loss": 1.0}) + "\n" for step in (9, 108)))
    text = text_of(folder)
    for caption in ("step 4, before the flow: noise is expected", "step 8, before the flow: noise is expected",
                    "step 12, flow 4% trained: noise is expected", "step 60, flow 52% trained<"):  # fmt: skip
        assert caption in text


@pytest.mark.parametrize("content", [
    "", "\n", "null\n", "[" * 100_000, '{"step": 1e999}\n',
    '{"step": %s, "phase": "vae", "elbo_nats": 1}\n' % ("9" * 4000),
    '{"step": 1, "phase": ["vae"], "elbo_nats": {}}\n',
    '{"step": 90, "phase": "end", "weights_step": 90, "psnr_db": {}, "ssim": "<x>", "rate_nats": %s}\n' % ("9" * 4000),
    *("".join(f'{{"step": {step}, "phase": "vae", "elbo_nats": {value}}}\n' for step, value in enumerate(values))
      for values in (("1e-320", "2e-320"), ("5e-324", "0"), ("9e99", "-9e99"), ("9" * 4000, "1"), ("true", "false"))),
])  # fmt: skip
def test_no_metrics_stop_the_page(folder: Path, content: str) -> None:
    (folder / "metrics.jsonl").write_text(content)
    assert "vae 9.9" in text_of(folder)


@pytest.mark.parametrize("content", [
    "", "[]", "[" * 100_000,
    '{"path": {}, "training_images": [], "notes": [{}, 1, null], "skipped": [{"id": []}, 1, null]}',
    '{"training_images": %s}' % ("9" * 4000), '{"path": "\\ud800", "validation_images": NaN}',
])  # fmt: skip
def test_no_description_of_the_data_stops_the_page(folder: Path, content: str) -> None:
    (folder / "data.json").write_text(content)
    assert "vae 9.9" in text_of(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_devices_and_bombs_are_left_out(folder: Path) -> None:
    for name in ("metrics.jsonl", "data.json", "previews/samples.png"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    Image.new("1", (14_000, 14_000)).save(folder / "previews" / "map.png")
    (folder / "previews" / "labels.png").symlink_to("/dev/zero")
    assert text_of(folder).count("data:image/png;base64,") == 1, "the progress is sound"
