"""The report, the comparison and contact sheets in a browser: nothing overflows, curves are read out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_cli.drawing.compare_page import compare_page
from vae_cli.drawing.contact_sheet import Figure, Row, contact_sheet, thumbnail
from vae_cli.drawing.run_page import PICTURES, Card, run_page
from vae_cli.training.run_record import read_record

from .conftest import overflow

FACTS = {"step": 100, "labels": ["cat"] * 60, "channels": 3}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "a-run-with-a-rather-long-name-that-has-to-be-broken-somewhere-on-a-telephone"
    (folder / "previews").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (240, 900, 3), np.uint8)
    for name in (*PICTURES, "step-00000010-samples"):
        Image.fromarray(pixels).save(folder / "previews" / f"{name}.png")
    lines = [{"step": step, "phase": "vae", "elbo_nats": -900.0 + step, "rate_nats": 5.0 + step, "active_units": step,
              "validation_loss": 800.0 - step} for step in range(10, 41, 10)]  # fmt: skip
    lines += [{"step": step, "phase": "flow", "flow_loss": 2.0 - step / 100, "validation_loss": 1.5 - step / 100}
              for step in range(50, 101, 10)]  # fmt: skip
    lines += [{"step": 100, "phase": "end", "weights_step": 100, "psnr_db": 21.5, "images": 9}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "data.json").write_text(json.dumps({"path": "/" + "long/" * 40, "training_images": 5}))
    return folder


@pytest.fixture
def report(run: Path) -> Path:
    cards = [Card("Learned from", "9,468 images", "word " * 40), Card("Took", "x" * 70, "y" * 70)]
    pieces = run_page(read_record(run), FACTS, cards=cards, commands=["vae sample " + "z" * 200],
                      config_yaml="width: 3\n" * 50, version="1")  # fmt: skip
    path = run / "report.html"
    path.write_text("".join(pieces))
    return path


def background(page: Any) -> list[int]:
    """Red, green and blue of the page's ground."""
    words = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return [int(word) for word in words[4:-1].split(",")]


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1440, "light"), (1440, "dark")])
def test_a_report_fits_and_follows_the_scheme(open_page: Any, report: Path, width: int, scheme: str) -> None:
    page = open_page(report, width=width, scheme=scheme)
    assert overflow(page) <= 0
    assert (max(background(page)) < 60) == (scheme == "dark") and (min(background(page)) > 200) == (scheme == "light")
    lefts = page.evaluate("new Set([...document.querySelectorAll('.pictures figure')].map("
                          "(figure) => Math.round(figure.getBoundingClientRect().left))).size")  # fmt: skip
    assert lefts == (1 if width == 360 else 3), "columns of pictures"


def test_all_curves_are_read_out_where_the_pointer_is(open_page: Any, report: Path) -> None:
    page = open_page(report)
    charts = page.query_selector_all("figure.chart")
    assert len(charts) == 4
    outputs = [chart.query_selector_all("output") for chart in charts]
    assert [output.inner_text() for output in outputs[1]] == ["860 at step 40", "1 at step 100"], "the ends"

    svg = charts[1].query_selector("svg")
    svg.scroll_into_view_if_needed()
    box, edges = svg.bounding_box(), json.loads(svg.get_attribute("data-edges"))
    scale = box["width"] / 380

    def point_at(step: float) -> None:
        page.mouse.move(box["x"] + scale * (edges[0] + step / 100 * (edges[1] - edges[0])), box["y"] + 40)

    point_at(20.5)
    assert [output.inner_text() for output in outputs[1]] == ["880 at step 20", "1 at step 100"]
    assert outputs[0][0].inner_text() == "780 at step 20" and outputs[2][0].inner_text() == "25 at step 20"
    point_at(71)
    assert [output.inner_text() for output in outputs[1]] == ["860 at step 40", "1.3 at step 70"]
    assert outputs[0][1].inner_text() == "0.8 at step 70"
    page.mouse.move(0, 0)
    assert outputs[1][1].inner_text() == "1 at step 100"
    svg.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert outputs[1][1].inner_text() == "1.1 at step 90"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
def test_a_comparison_fits(open_page: Any, run: Path, tmp_path: Path, width: int, scheme: str) -> None:
    records = [read_record(run), read_record(shutil.copytree(run, tmp_path / "b")), read_record(tmp_path / "nowhere")]
    names = ["a" * 60, "b", "c"]
    figures = {"PSNR (dB)": ["1", "2", "–"]} | {f"figure {number}": ["3", "4", "–"] for number in range(10)}
    path = tmp_path / "compare.html"
    path.write_text("".join(compare_page(records, names, figures, {"data.path": ["/" + "x" * 300, "y", "z"]})))
    page = open_page(path, width=width, scheme=scheme)
    assert overflow(page) <= 0 and page.evaluate("document.images.length") == 2 * len(PICTURES)
    tops = page.evaluate("[...document.querySelectorAll('.side')].map((row) => new Set([...row.children].map("
                         "(figure) => figure.getBoundingClientRect().top)).size)")  # fmt: skip
    assert set(tops) == {1 if width == 1440 else 2}, "side by side where there is room"


@pytest.mark.parametrize("width", [360, 1440])
def test_pictures_of_a_contact_sheet_keep_their_shape(open_page: Any, tmp_path: Path, width: int) -> None:
    figures = tuple(Figure(f"{number}: {'x' * 60}", thumbnail(np.full((90, 120, 3), 80, np.uint8)))
                    for number in range(5))  # fmt: skip
    path = tmp_path / "sheet.html"
    path.write_text("".join(contact_sheet("5 images", [Row("a" * 90, "as strange as can be", figures)] * 2)))
    page = open_page(path, width=width)
    assert overflow(page) <= 0
    sizes = page.evaluate("[...document.images].map((image) => [image.width, image.height])")
    assert len(sizes) == 10 and all(w >= 120 and abs(w / h - 4 / 3) < 0.03 for w, h in sizes)
