"""What `vae train` says by itself: about few images, active latents, and a score that stands still."""

import json
from pathlib import Path

from tiny import tiny_config

from vae_cli.cli.training_messages import finished_lines, shortened_line
from vae_cli.jobs.model_warnings import (
    FEW_FLOW_UPDATES,
    few_active_line,
    few_flow_updates_line,
    few_images_line,
    few_updates_line,
    fill_share_line,
)
from vae_cli.training.events import Shortened

from .conftest import draw

SMALL = ("--preset", "tiny", "--steps", 6, "--device", "cpu", "--labels", "none", "--set", "model.width=8",
         "--set", "model.flow.width=16", "--set", "training.threads=1")  # fmt: skip


def test_few_images_are_told_what_to_expect() -> None:
    assert few_images_line(1000) is None and few_images_line(60_000) is None
    line = few_images_line(999)
    assert line is not None and "999" in line and "1,000" in line and "\n" not in line


def test_the_end_says_how_good_the_model_is() -> None:
    facts = {"validation": {"psnr_db": 26.44, "images": 25}, "samples": {"drawn": 64, "detail": 0.583, "copies": 0},
             "fill_share": 0.28, "seconds": 902.0, "run": Path("runs/photos")}  # fmt: skip
    assert list(finished_lines(facts)) == [
        "reconstructions  26.4 dB on 25 held-out images: close, fine detail is lost",
        "samples          58% of the detail of your images; none of 64 copies a training image",
        f"fills            {fill_share_line(0.28)}",
        "time             15:02",
        "pictures         runs/photos/previews, all on one page: runs/photos/report.html",
    ]
    few = {"validation": {"psnr_db": 31.0, "images": 2}, "samples": {"drawn": 64, "detail": 0.9, "copies": 3}}
    first, second, *rest = finished_lines(facts | few | {"fill_share": None})
    assert "too few to judge by" in first and "3 of 64 copy" in second and len(rest) == 2


def test_few_updates_are_told(vae, tmp_path: Path) -> None:
    assert few_updates_line(300) is None
    line = few_updates_line(299)
    assert line is not None and "only 299 updates" in line and "--time" in line and len(line.splitlines()) <= 3
    for number in range(20):
        draw(tmp_path / "photos" / ("val" if number < 12 else "train") / f"{number}.png", number)
    sets = ("--set", "objective.kl_weight=1000", "--set", "training.ema_decay=0.5")
    cold, warm = (
        vae("train", tmp_path / "photos", *SMALL, *sets, "--set", f"objective.kl_warmup_steps={steps}",
            "--out", tmp_path / str(steps)).stderr
        for steps in (3, 1)
    )  # fmt: skip
    assert "only 2 updates of the VAE" in cold and "only 2 updates of the VAE" in warm
    assert "collapse" not in cold and "collapse" in warm, "during warm-up silent units mean nothing"


def test_a_flow_that_has_hardly_seen_photographs_is_told() -> None:
    photographs, small = tiny_config(), tiny_config({"model": {"flow": {"net": "unet"}}})
    line = few_flow_updates_line(FEW_FLOW_UPDATES - 1, photographs)
    assert line is not None and "2999 updates" in line and "--init" in line and len(line.splitlines()) <= 3
    assert few_flow_updates_line(FEW_FLOW_UPDATES, photographs) is None
    assert few_flow_updates_line(100, small) is None and few_flow_updates_line(0, photographs) is None
    assert few_flow_updates_line(100, tiny_config({"training": {"init": "photo"}})) is None


def test_the_part_of_the_model_in_fills_is_told_everywhere(vae, tmp_path: Path) -> None:
    assert "4%" in fill_share_line(0.04) and "mostly" in fill_share_line(0.04)
    assert "80%" in fill_share_line(0.8) and "mostly" not in fill_share_line(0.8)
    for number in range(20):
        draw(tmp_path / "photos" / f"{number}.png", number)
    answer = vae("train", tmp_path / "photos", *SMALL, "--out", tmp_path / "run", "--json")
    share, samples = answer.json["fill_share"], answer.json["samples"]
    assert 0 <= share <= 1 and fill_share_line(share) in answer.stderr
    assert samples["drawn"] == 64 and samples["detail"] > 0 and 0 <= samples["copies"] <= 64
    assert vae("info", tmp_path / "run", "--json").json["fill_share"] == share
    assert f"part in them is {share:.0%}" in vae("info", tmp_path / "run").stdout
    assert "part in fills, 0 to 1" in (tmp_path / "run" / "report.html").read_text()
    bare = vae(
        "train", tmp_path / "photos", *SMALL, "--set", "training.flow_share=0", "--out", tmp_path / "bare", "--json"
    )
    assert bare.json["fill_share"] is None and "part in fills" not in bare.stderr


def test_few_active_units_come_with_a_setting_to_try() -> None:
    config = tiny_config({"objective": {"kl_warmup_steps": 500, "free_nats": 3.0}})
    line = few_active_line(facts_with((1, 64)), config)
    assert line is not None and "1 of 64" in line and len(line.splitlines()) <= 3
    assert "objective.free_nats=6" in line and "objective.kl_warmup_steps=2000" in line
    assert few_active_line(facts_with((7, 64)), config) is None
    assert few_active_line(facts_with((0, 64), images=9), config) is None, "too few images to tell"


def test_silent_units_of_fine_layers_are_no_illness() -> None:
    assert few_active_line(facts_with((10, 16), (0, 784)), tiny_config()) is None
    assert few_active_line(facts_with((1, 16), (784, 784)), tiny_config()) is not None


def facts_with(*layers: tuple[int, int], images: int = 50) -> dict[str, object]:
    """Figures of `evaluate` with (active, all) units a layer."""
    return {"images": images, "layers": [{"active_units": active, "latent_units": units} for active, units in layers]}


def test_a_standstill_is_explained() -> None:
    falling, ending = (shortened_line(Shortened("vae", 5000, 2500, is_end), 10) for is_end in (False, True))
    assert "10 validations" in falling and "step 2500" in falling and "learning rate" in falling
    assert "ends" in ending


def test_check_and_dry_run_say_it_on_stderr(vae, photos: Path) -> None:
    for words in (("check", photos), ("train", photos, *SMALL, "--dry-run")):
        outcome = vae(*words)
        assert outcome.code == 0
        assert outcome.stderr.count("few images (1") == 1 and "few images" not in outcome.stdout


def test_a_run_logs_active_units_and_stops_when_nothing_improves(vae, photos: Path, tmp_path: Path) -> None:
    """A rate of nothing: the averaged weights never change, so neither does their score."""
    sets = {"training.learning_rate": 1e-30, "training.flow_learning_rate": 1e-30, "training.weight_decay": 0,
            "training.validate_every": 1, "training.patience": 2, "training.log_every": 1}  # fmt: skip
    words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    out = tmp_path / "run"
    outcome = vae("train", photos, *SMALL, *words, "--steps", 100, "--out", out, "--json")
    assert outcome.code == 0, outcome.stderr
    answer = outcome.json
    assert answer["status"] == "finished" and answer["steps"] < 20
    assert answer["phases"]["vae"]["shortened"] and answer["phases"]["flow"]["shortened"]
    assert outcome.stderr.count("2 validations without a better score") >= 2, "once a phase at least"
    assert outcome.stderr.count("few images (1") == 1
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    of_vae = [line for line in lines if line["phase"] == "vae" and "elbo_nats" in line]
    assert of_vae and all(0 <= line["active_units"] <= line["latent_units"] for line in of_vae)

    again = vae("train", "--out", out, "--resume", "--json", "--device", "cpu")
    assert again.json["status"] == "nothing_to_do" and "--steps 200 goes on" in again.stderr
    assert again.json["parameters"] == answer["parameters"], "both networks are counted"
    assert [again.json["phases"][name]["steps"] for name in ("vae", "flow")] == [0, 0]


def test_a_collapsed_run_says_what_to_try(vae, tmp_path: Path) -> None:
    """A KL a thousand times its worth empties the latents in a few dozen updates; a dozen held-out images show it."""
    for number in range(20):
        draw(tmp_path / "data" / ("val" if number < 12 else "train") / f"{number}.png", number)
    sets = {"objective.kl_weight": 1000, "objective.kl_warmup_steps": 0, "training.flow_share": 0,
            "training.learning_rate": 5e-3, "training.ema_decay": 0.5, "training.gradient_clip": 1e4}  # fmt: skip
    words = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    outcome = vae("train", tmp_path / "data", *SMALL, *words, "--steps", 40, "--out", tmp_path / "run", "--json")
    assert outcome.json["validation"]["active_units"] == 0
    assert "warning: only 0 of" in outcome.stderr and "objective.free_nats=" in outcome.stderr
