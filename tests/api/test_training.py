"""A training from Python: its events, a gentle stop, and a notebook that does what the README says."""

import json
import re
import signal
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from tiny import pictures

import vae_cli
from vae_cli.jobs.events import Finished
from vae_cli.training.events import PhaseDone, StepLogged

README = Path(__file__).parents[2] / "README.md"
TINY = {"preset": "tiny", "steps": 20, "device": "cpu"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, image in enumerate(pictures(12, (16, 16), 3)):
        folder = tmp_path / "photos" / ("cats", "dogs")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_events_and_figures(photos: Path, tmp_path: Path) -> None:
    training = vae_cli.train(photos, out=tmp_path / "run", settings={"training.log_every": 4}, **TINY)
    assert not (tmp_path / "run").exists(), "nothing happens before it is run"
    events = list(training)
    assert [event.phase for event in events if isinstance(event, PhaseDone)] == ["vae", "flow"]
    assert [event.step for event in events if isinstance(event, StepLogged)] == [4, 8, 12, 16, 20]
    (facts,) = (event.facts for event in events if isinstance(event, Finished))
    assert facts["status"] == "finished" and facts["steps"] == 20 and events[-1].facts is facts
    assert vae_cli.load(training.folder, device="cpu").label_names == ("cats", "dogs")


def test_a_stop_saves_and_the_run_goes_on(photos: Path, tmp_path: Path) -> None:
    training = vae_cli.train(photos, out=tmp_path / "run", settings={"training.log_every": 1}, **TINY)
    for event in training:
        if isinstance(event, StepLogged) and event.step == 5:
            training.stop()
    with pytest.raises(vae_cli.ConfigError, match="resume"):
        vae_cli.train(photos, out=tmp_path / "run", **TINY)
    facts = vae_cli.train(out=tmp_path / "run", resume=True).run()
    assert facts["status"] == "finished" and facts["steps"] == 20


def test_an_interrupt_of_run_saves(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = vae_cli.train(photos, out=tmp_path / "run", settings={"training.log_every": 1}, **TINY)
    run = training.job.run

    def interrupted(*args: object) -> object:
        for event in run(*args):  # type: ignore[arg-type]
            if isinstance(event, StepLogged) and event.step == 5:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(training.job, "run", interrupted)
    before = signal.getsignal(signal.SIGINT)  # of a process in the background it may be to ignore it
    facts = training.run()
    assert facts["status"] == "interrupted" and facts["steps"] == 5
    assert signal.getsignal(signal.SIGINT) is before


def test_progress_is_shown_from_the_first_image_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich knows
    vae_cli.train(photos, out=tmp_path / "run", **TINY).run()
    shown = capsys.readouterr().err
    places = [shown.index(part) for part in ("decoding training images", "decoding held-out images", "VAE", "flow")]
    assert places == sorted(places)


def test_settings_that_contradict(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(vae_cli.ConfigError, match="exclude one another"):
        vae_cli.train(photos, out=tmp_path / "run", steps=3, time="10m")
    with pytest.raises(vae_cli.ConfigError, match=r"model\.widht"):
        vae_cli.train(photos, out=tmp_path / "run", settings={"model.widht": 8}, **TINY)


MORE_CELLS = """
import numpy as np, torch
from PIL import Image
array = np.asarray(Image.open("a.jpg"))
forms = [array, array / 255, torch.from_numpy(array.copy()).permute(2, 0, 1), Image.open("a.jpg"), "a.jpg"]
assert all(np.array_equal(model.reconstruct(form), model.reconstruct(array)) for form in forms)
"""
WITH_A_BAR = "vae_cli.train('photos', out='runs/bar', preset='tiny', steps=4, settings={'training.log_every': 1}).run()"


def test_a_notebook_of_the_readme_runs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python section as a notebook, and the same picture in every form; samples show themselves as PNG."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the kernel: threads of other tests share the cores
    vae_cli.train(photos, out=tmp_path / "runs" / "photos", **TINY).run()
    for number, name in enumerate(("a.jpg", "b.jpg", "scan.png", "noisy.png")):
        Image.fromarray(pictures(1, (20, 20), 3, seed=number)[0]).save(tmp_path / name)
    Image.fromarray(np.pad(np.full((6, 6), 255, np.uint8), 7)).save(tmp_path / "mask.png")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    toy = code.replace('time="15m"', 'preset="tiny", steps=4')
    assert toy != code, "what README trains is cut short here"
    cells = [nbformat.v4.new_code_cell(text) for text in (toy, MORE_CELLS, WITH_A_BAR, "images")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    bar = next(each["data"]["text/plain"] for each in notebook.cells[2]["outputs"] if each.output_type != "stream")
    assert "flow  ━━━" in bar and "100%" in bar and " images/s" in bar and "reconstructions" in bar
    (shown,) = notebook.cells[-1]["outputs"]
    assert "image/png" in shown["data"], json.dumps(shown)[:300]
