"""Checkpoints: whole or not at all, honest about damage, pruned, and readable for ever."""

import errno
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import CPU, filled, pictures, resealed, same_tensors, tiny_config, tiny_model, weights_of

from vae_cli import checkpoint, checkpoint_folders
from vae_cli.checkpoint import Facts, Model, load_model, load_resumable, read_facts, write_checkpoint
from vae_cli.checkpoint_folders import NUM_KEPT, checkpoints_in, prune, resolve_run
from vae_cli.errors import CheckpointError, ConfigError, WriteError
from vae_cli.jobs.export import export_whole
from vae_cli.model.priors import noise_of_images
from vae_cli.tasks.reconstruct import reconstruct
from vae_cli.tasks.sample import sample

GOLDEN = Path(__file__).parent / "golden" / "formats"


def facts_of(model: Model, step: int = 6) -> Facts:
    return replace(model.facts, step=step)


def write(folder: Path, model: Model, step: int = 6, trainer: dict[str, Any] | None = None) -> Path:
    write_checkpoint(folder, facts_of(model, step), weights_of(model.vae, model.flow), trainer)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with one step checkpoint and a best one."""
    model = tiny_model(num_labels=2)
    write(tmp_path / "run" / "checkpoints" / "step-00000006", model, trainer={"step": 6})
    write(tmp_path / "run" / "checkpoints" / "best", model)
    (tmp_path / "run" / "config.yaml").write_text("")
    return tmp_path / "run"


# Round trip


@pytest.mark.parametrize("has_flow", [True, False])
def test_a_model_comes_back_whole(tmp_path: Path, has_flow: bool) -> None:
    model = tiny_model(has_flow=has_flow, num_labels=3)
    again = load_model(write(tmp_path / "step", model), CPU)
    assert same_tensors(weights_of(again.vae, again.flow), weights_of(model.vae, model.flow))
    assert (again.config, again.label_names, again.facts.step, again.facts.phase) == (
        model.config, model.label_names, 6, model.facts.phase,
    )  # fmt: skip
    assert not again.vae.training and not any(p.requires_grad for p in again.vae.parameters())
    first, second = (list(sample(either, 3, seed=1)) for either in (model, again))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_loading_leaves_the_global_random_numbers_alone(run: Path) -> None:
    before = torch.get_rng_state()
    load_model(run, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_a_folder_and_a_file_are_the_same_model(run: Path) -> None:
    best = run / "checkpoints" / "best"
    assert resolve_run(run) == resolve_run(best) == resolve_run(best / "model.safetensors")
    shutil.rmtree(best)
    assert resolve_run(run).parent.name == "step-00000006"


def test_steps_are_ordered_by_number(run: Path) -> None:
    """Also beyond the eighth digit, where names no longer sort."""
    for step in (99_999_999, 100_000_000, 20):
        write(run / "checkpoints" / f"step-{step:08d}", tiny_model(), step)
    (run / "checkpoints" / "step-final").mkdir()
    assert [path.name for path in checkpoints_in(run)] == [
        "step-00000006", "step-00000020", "step-99999999", "step-100000000",
    ]  # fmt: skip


def test_nothing_stored_can_run_code(run: Path) -> None:
    torch.load(run / "checkpoints" / "step-00000006" / "trainer.pt", weights_only=True)
    names = {path.name for path in (run / "checkpoints" / "step-00000006").iterdir()}
    assert names == {"config.json", "model.safetensors", "trainer.pt"}
    json.loads((run / "checkpoints" / "best" / "config.json").read_text())


# Damage


def truncated(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def with_header(**changes: Any) -> Callable[[Path], None]:
    """Our file with some facts replaced (None = left out)."""

    def rewrite(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["vae"])
        facts = {key: value for key, value in {**facts, **changes}.items() if value is not None}
        save_file(load_file(path), path, metadata={"vae": json.dumps(facts)})

    return rewrite


def lacking_a_tensor(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, path, metadata=header)


def with_a_bit_turned_over(path: Path) -> None:
    """A number stays a number, only not the one that was written."""
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "four bytes": lambda path: path.write_bytes(path.read_bytes()[:4]),
    "header's length only": lambda path: path.write_bytes(path.read_bytes()[:8]),
    "inside the header": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "inside the first tensor": truncated(0.3),
    "half": truncated(0.5),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "text": lambda path: path.write_text("these are no weights\n" * 50),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a pickle": lambda path: torch.save({"weight": torch.zeros(3)}, path),
    "foreign safetensors": foreign,
    "a later format": with_header(format_version=99),
    "an older format": with_header(format_version=0),
    "no format": with_header(format_version=None),
    "no configuration": with_header(config=None),
    "a configuration that is a list": with_header(config=[1]),
    "an unknown setting": with_header(config={"modell": {}}),
    "facts that are a number": lambda path: save_file(load_file(path), path, metadata={"vae": "7"}),
    "a tensor missing": lacking_a_tensor,
    "one bit turned over": with_a_bit_turned_over,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_named(run: Path, kind: str) -> None:
    path = run / "checkpoints" / "best" / "model.safetensors"
    DAMAGE[kind](path)
    with pytest.raises(CheckpointError) as caught:
        load_model(run, CPU)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("kind", DAMAGE)
def test_resuming_passes_over_damage_or_says_so(run: Path, kind: str) -> None:
    """With an older checkpoint behind it the damaged one is passed over; alone it is an error."""
    newest = run / "checkpoints" / "step-00000006"
    DAMAGE[kind](newest / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        load_resumable(run)
    write(run / "checkpoints" / "step-00000004", tiny_model(), 4, trainer={"step": 4})
    found = load_resumable(run)
    assert found.facts.step == 4
    assert not any("give a run folder" in problem for problem in found.problems), "nobody has to do anything"


HOSTILE_VALUES: list[Any] = [
    None,
    "x",
    -1,
    float("inf"),
    float("nan"),
    True,
    [],
    {},
    2**70,
    10**4000,
    [[[[1]]]],
    "x" * 10**5,
]


def places_in(value: Any) -> Iterator[tuple[Any, ...]]:
    """Where there is something in nested dictionaries and lists, the outermost included."""
    yield ()
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from ((key, *rest) for rest in places_in(inner))


def test_no_header_is_a_bug_of_ours(run: Path) -> None:
    """Each value in it is replaced by those of other kinds: the description is refused, or it is a sound one."""
    sound = facts_of(tiny_model(num_labels=2)).as_json()
    num_refused = 0
    for place in places_in(json.loads(sound)):
        for value in HOSTILE_VALUES:
            facts = {"": json.loads(sound)}
            inner: Any = facts
            for key in ("", *place)[:-1]:
                inner = inner[key]
            inner[("", *place)[-1]] = value
            try:
                Facts.from_json(json.dumps(facts[""]), run)
            except CheckpointError as error:
                assert str(run) in str(error) and all(len(line) < 600 for line in str(error).splitlines())
                num_refused += 1
    assert num_refused > 500


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "", "null", "9" * 5000, '"\\ud800"'])
def test_a_header_that_is_no_description(run: Path, text: str) -> None:
    with pytest.raises(CheckpointError, match="not the description"):
        Facts.from_json(text, run)


def described(**changes: Any) -> Callable[[Path], None]:
    """Our file whose description is of another model; `model` and `data` replace settings."""

    def rewrite(path: Path) -> None:
        facts = facts_of(tiny_model(num_labels=2))
        facts = replace(facts, config=facts.config.updated(changes))
        save_file(load_file(path), path, metadata={"vae": facts.as_json()})

    return rewrite


UNFIT: dict[str, Callable[[Path], object]] = {
    "gigabytes of weights": described(model={"width": 8192, "blocks": 16}),
    "thousands of latent layers": described(model={"latents": [{"stride": 4, "layers": 32, "channels": 512}] * 20}),
    "a large image": described(data={"image_size": [4096, 4096]}),
    "sides that the latents do not divide": described(data={"image_size": [9, 7]}),
    "a stride that is no level's": described(model={"latents": [{"stride": 64}, {"stride": 2}]}),
    "another likelihood": described(model={"likelihood": {"kind": "logistic_mixture", "components": 100}}),
    "numbers of another kind": lambda path: save_file(
        {name: value.double() for name, value in load_file(path).items()}, path,
        metadata={"vae": facts_of(tiny_model(num_labels=2)).as_json()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNFIT)
def test_nothing_is_allocated_before_the_shapes_are_compared(
    run: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = run / "checkpoints" / "best" / "model.safetensors"
    UNFIT[kind](path)
    honest = checkpoint.build_modules

    def build(facts: Facts, *, has_flow: bool) -> Any:
        assert torch.get_default_device().type == "meta", "memory is taken for a model that does not fit its file"
        return honest(facts, has_flow=has_flow)

    monkeypatch.setattr(checkpoint, "build_modules", build)
    for open_it in (lambda: load_model(run, CPU), lambda: checkpoint.outline(path)):
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            open_it()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "trainer.pt"])
def test_a_pipe_in_a_step_checkpoint_is_not_waited_for(run: Path, name: str) -> None:
    path = run / "checkpoints" / "step-00000006" / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_resumable(run)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_place_of_weights_is_not_waited_for(run: Path) -> None:
    best = run / "checkpoints" / "best" / "model.safetensors"
    best.unlink()
    os.mkfifo(best)
    assert resolve_run(run).parent.name == "step-00000006"
    with pytest.raises(CheckpointError):
        resolve_run(best)


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_damaged_trainer_state_cannot_be_resumed(run: Path, size: int) -> None:
    trainer = run / "checkpoints" / "step-00000006" / "trainer.pt"
    trainer.write_bytes(trainer.read_bytes()[:size])
    with pytest.raises(CheckpointError):
        load_resumable(run)


def test_a_trainer_state_with_code_in_it_is_refused(run: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(run / "harm"),)

    torch.save(Harmful(), run / "checkpoints" / "step-00000006" / "trainer.pt")
    with pytest.raises(CheckpointError):
        load_resumable(run)
    assert not (run / "harm").exists()


def test_a_trainer_state_that_would_fill_the_memory_is_refused(run: Path) -> None:
    """torch unpacks what it never packs."""
    path = run / "checkpoints" / "step-00000006" / "trainer.pt"
    torch.save({"step": 6, "more": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    resealed(path.parent)
    with pytest.raises(CheckpointError, match=r"trainer\.pt: damaged"):
        load_resumable(run)


POSITIONS = (0.02, 0.3, 0.5, 0.77, 0.999)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "trainer.pt"])
@pytest.mark.parametrize("position", POSITIONS)
def test_resuming_notices_one_flipped_bit_anywhere(run: Path, name: str, position: float) -> None:
    write(run / "checkpoints" / "step-00000008", tiny_model(), 8, trainer={"step": 8, "more": torch.ones(100)})
    assert load_resumable(run).facts.step == 8 and load_resumable(run).problems == ()
    path = run / "checkpoints" / "step-00000008" / name
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 4
    path.write_bytes(content)
    found = load_resumable(run)
    assert found.facts.step == 6 and str(path.parent) in found.problems[0] and "damaged" in found.problems[0]
    path.unlink()
    assert load_resumable(run).facts.step == 6, "nor without the file"


def test_a_weights_file_alone_notices_a_flipped_bit_in_its_header(run: Path, tmp_path: Path) -> None:
    whole = (run / "checkpoints" / "best" / "model.safetensors").read_bytes()
    for word in (b"learning_rate", b"label_names", b'step\\": 6'):
        content = bytearray(whole)
        content[whole.index(word) + len(word) - 1] ^= 1
        (tmp_path / "alone.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"alone\.safetensors"):
            load_model(tmp_path / "alone.safetensors", CPU)


@pytest.mark.parametrize("name", ["", "\ud800", "a\udfffb", 3])
def test_a_label_that_no_file_could_be_called_is_refused(name: object) -> None:
    """Samples go to folders that labels name."""
    facts = json.loads(tiny_model(num_labels=1).facts.as_json())
    del facts["sha256"]
    assert Facts.from_json(json.dumps(facts | {"label_names": ["caf\udce9"]}), Path("a")).label_names == ("caf\udce9",)
    with pytest.raises(CheckpointError, match="label_names"):
        Facts.from_json(json.dumps(facts | {"label_names": [name]}), Path("a"))


def shifted(model: Model) -> dict[str, torch.Tensor]:
    """The flow's weights, and in memory as training may lay them: columns first."""
    assert model.flow is not None
    return {name: (value + 1).T.contiguous().T if value.ndim == 2 else value + 1
            for name, value in model.flow.state_dict().items()}  # fmt: skip


def test_without_best_the_weights_that_scored_best_are_taken_and_that_is_said(run: Path, tmp_path: Path) -> None:
    model = tiny_model(num_labels=2)
    best = shifted(model)
    write(run / "checkpoints" / "step-00000008", model, 8, trainer={"best": best, "best_step": 7})
    assert load_model(run, CPU).remarks == ()
    shutil.rmtree(run / "checkpoints" / "best")
    found = load_model(run, CPU)
    assert found.flow is not None and found.facts.step == 7
    assert same_tensors(found.flow.state_dict(), best) and same_tensors(found.vae.state_dict(), model.vae.state_dict())
    (remark,) = found.remarks
    assert "best: is missing" in remark and "step-00000008 that scored best" in remark
    path = export_whole(run, tmp_path / "whole.safetensors")
    assert path.parent.name == "step-00000008"
    exported = load_model(tmp_path / "whole.safetensors", CPU)
    assert exported.flow is not None and same_tensors(exported.flow.state_dict(), best)
    write(run / "checkpoints" / "step-00000009", model, 9)  # without a state of training, and so without a best
    assert load_model(run, CPU).facts.step == 9 and "step-00000009" in load_model(run, CPU).remarks[0]


@pytest.mark.parametrize("kind", DAMAGE)
def test_without_best_the_newest_whole_one_is_taken_and_that_is_said(run: Path, kind: str) -> None:
    shutil.rmtree(run / "checkpoints" / "best")
    newest = write(run / "checkpoints" / "step-00000008", tiny_model(num_labels=2), 8, trainer={"step": 8})
    DAMAGE[kind](newest / "model.safetensors")
    found = load_model(run, CPU)
    assert found.facts.step == 6 and str(newest / "model.safetensors") in found.remarks[0] and len(found.remarks) == 2
    DAMAGE[kind](run / "checkpoints" / "step-00000006" / "model.safetensors")
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load_model(run, CPU)
    assert str(newest) in str(caught.value)


def test_places_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_model(tmp_path / "nowhere", CPU)
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_model(tmp_path, CPU)
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_resumable(tmp_path)


# Writing


@pytest.mark.parametrize("broken", ["rename", "fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_one(run: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    best = run / "checkpoints" / "best"
    before = load_file(best / "model.safetensors")

    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    changed = tiny_model()
    with torch.no_grad():
        next(changed.vae.parameters()).add_(1.0)
    with monkeypatch.context() as patch:
        for module in (os, Path):
            if hasattr(module, broken):
                patch.setattr(module, broken, fail)
        if broken == "replace":  # not used for folders: the save goes through
            write(best, changed)
            return
        with pytest.raises(WriteError, match="No space left") as caught:
            write(best, changed)
    assert caught.value.exit_code == 7 and str(best) in str(caught.value)
    assert same_tensors(load_file(best / "model.safetensors"), before)
    load_model(run, CPU)


@pytest.mark.parametrize("call", range(1, 3))
def test_killed_between_two_renames_something_stays_loadable(
    run: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """A kill is no exception that could be tidied up after: nothing more happens."""

    class Killed(BaseException):
        pass

    calls = 0
    honest = Path.rename

    def rename(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return honest(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            write(run / "checkpoints" / "best", tiny_model())
    load_model(run, CPU)


def test_a_rename_that_fails_brings_the_old_one_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best, honest = run / "checkpoints" / "best", Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == ".best.tmp":
            raise OSError(5, "Input/output error")
        return honest(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(WriteError, match="Input/output error"):
        write(best, tiny_model())
    assert sorted(path.name for path in best.parent.iterdir()) == ["best", "step-00000006"]
    assert load_model(run, CPU).remarks == ()


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "config.json"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_refuses_is_told_with_the_way_on(run: Path, monkeypatch, name: str, number: int) -> None:
    honest = checkpoint_folders._write_synced

    def refuse(path: Path, content: bytes | memoryview) -> None:
        if path.name == name:
            raise OSError(number, os.strerror(number))
        honest(path, content)

    monkeypatch.setattr(checkpoint_folders, "_write_synced", refuse)
    with pytest.raises(WriteError) as caught:
        write(run / "checkpoints" / "step-00000009", tiny_model(), 9, trainer={"step": 9})
    said = str(caught.value)
    assert said.startswith(f"{run / 'checkpoints' / 'step-00000009' / name}: cannot be written (")
    is_full = number != errno.EACCES
    for part in (f"vae train --out {run} --resume", "MiB are left on the disk at /"):
        assert (part in said) == is_full
    assert len(said.splitlines()) <= 3 and not (run / "checkpoints" / ".step-00000009.tmp").exists()


def test_no_half_written_folder_is_ever_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = torch.save

    def save(value: Any, file: Any) -> None:
        honest(value, file)
        assert checkpoints_in(tmp_path) == []

    monkeypatch.setattr(torch, "save", save)
    write(tmp_path / "checkpoints" / "step-00000001", tiny_model(), 1, trainer={"step": 1})
    assert len(checkpoints_in(tmp_path)) == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_write_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Path.open

    def open_full(self: Path, *arguments: Any, **named: Any) -> Any:
        return honest(Path("/dev/full") if self.suffix in (".safetensors", ".pt") else self, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(WriteError, match="No space left"):
        write(tmp_path / "checkpoints" / "step-00000001", tiny_model(), 1, trainer={"step": 1})
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_write_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError):
        write(tmp_path / "checkpoints" / "best", tiny_model())


def test_pruning_keeps_the_newest_and_the_best(run: Path) -> None:
    folder = run / "checkpoints"
    for step in range(7, 12):
        write(folder / f"step-{step:08d}", tiny_model(), step)
    left = folder / ".step-00000009.1.tmp"
    left.mkdir()
    os.utime(left, (0, 0))
    prune(run)
    assert NUM_KEPT == 3
    assert sorted(path.name for path in folder.iterdir()) == ["best", *(f"step-{step:08d}" for step in (9, 10, 11))]


def test_damaged_newer_ones_push_out_no_whole_one(run: Path) -> None:
    folder = run / "checkpoints"
    for step in (7, 20, 21, 22):
        write(folder / f"step-{step:08d}", tiny_model(), step)
    (folder / "step-00000023").mkdir()
    prune(run, newest=7)
    assert [path.name for path in checkpoints_in(run)] == ["step-00000006", "step-00000007"]
    assert not (folder / "step-00000023").exists()


# For ever


def test_format_5_is_still_read() -> None:
    """A file written when the format was new gives the very pictures that it gave then.

    When the format changes, this file stays and the new version gets its own; it is never made anew.
    """
    model = load_model(GOLDEN / "format-5.safetensors", CPU)
    expected = json.loads((GOLDEN / "format-5.json").read_text())
    assert (model.facts.step, model.facts.phase, list(model.label_names)) == (6, "flow", ["a", "b"])
    assert (model.image_size, model.channels) == ((8, 8), 1)
    found = {
        "normal": next(iter(sample(model, 1, seed=3, prior="normal", solver_steps=3))),
        "flow": next(iter(sample(model, 1, seed=3, prior="flow", solver_steps=3, labels=["b"], guidance=1.0))),
        "rebuilt": next(iter(reconstruct(model, pictures(1)))),
        "filled": filled(model),
    }
    for name, picture in found.items():
        assert abs(picture[..., 0].astype(int) - torch.tensor(expected[name]).numpy()).max() <= 1, name
    assert (GOLDEN / "format-5.safetensors").stat().st_size < 400_000


def test_a_run_from_before_there_were_checksums_goes_on(run: Path) -> None:
    path = checkpoints_in(run)[-1] / "config.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in facts.items() if name not in ("files", "sha256")}))
    assert load_resumable(run).facts.step == facts["step"] and not load_resumable(run).problems
    path.write_text(json.dumps({name: value for name, value in facts.items() if name != "sha256"}))
    with pytest.raises(CheckpointError, match="no checksums"):  # a damage: an early version wrote neither
        load_resumable(run)


def test_a_model_of_an_earlier_format_is_refused_in_words() -> None:
    """Its networks computed something else; none was ever released."""
    with pytest.raises(CheckpointError, match=r"format 4.*reads 5 and, of photographs, 6") as caught:
        load_model(GOLDEN / "format-4.safetensors", CPU)
    assert "train it again" in str(caught.value)


def test_facts_survive_any_label() -> None:
    names = ("käse", "日本", 'quote"s', "line\nbreak")
    facts = Facts(tiny_config(), names, (0,) * (len(names) + 1), 12, "vae")
    assert Facts.from_json(facts.as_json(), Path("x")) == facts


def test_reading_facts_loads_no_weights(run: Path) -> None:
    assert read_facts(run / "checkpoints" / "best" / "model.safetensors").step == 6
    assert noise_of_images(load_model(run, CPU).vae, 0, [0]).noise[0].shape == (1, 2, 2, 2)
