"""The configuration: one object whichever way it came, and errors that name the key and what to write instead."""

import os
from pathlib import Path
from typing import Any

import pytest

from vae_cli import config_values
from vae_cli.config import RunConfig, from_dict, known_keys, merge
from vae_cli.config_layers import dump_yaml, parse_assignment, parse_yaml, resolve_config, sample_names
from vae_cli.errors import ConfigError
from vae_cli.presets import PRESETS

SAMPLES = sorted((Path(__file__).parents[1] / "sample_configs").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_defaults_to_dict_to_yaml_to_the_same_object(preset: str, tmp_path: Path) -> None:
    found = resolve_config(preset=preset)
    assert found.preset == preset
    assert from_dict(found.as_dict(), RunConfig) == found
    assert from_dict(parse_yaml(dump_yaml(found)), RunConfig) == found
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(found))
    assert resolve_config(file=path) == found


def test_later_layers_win(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("training: {batch_size: 7, seed: 7, log_every: 7}\n")
    config = resolve_config(
        preset="tiny", file=path, sets=["training.seed=8", "training.log_every=8"], options={"training": {"seed": 9}}
    )
    training = config.training
    assert (training.batch_size, training.log_every, training.seed) == (7, 8, 9)
    assert config.model == resolve_config(preset="tiny").model


def test_a_file_may_name_its_preset_and_the_option_wins(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("preset: nll\n")
    assert resolve_config(file=path).preset == "nll"
    assert resolve_config(preset="flat", file=path) == resolve_config(preset="flat")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("2E+2", 200.0), (".5", 0.5), ("1.", 1.0), ("-3e1", -30.0)]
)
def test_numbers_are_numbers(text: str, value: float) -> None:
    found = parse_yaml(text)
    assert isinstance(found, float) and found == value
    if value > 0:
        assert resolve_config(sets=[f"training.learning_rate={text}"]).training.learning_rate == value


@pytest.mark.parametrize("text", ["abc", "1e-3x", "1-2", "."])
def test_words_stay_words(text: str) -> None:
    assert isinstance(parse_yaml(text), str)


@pytest.mark.parametrize(
    ("sets", "parts"),
    [
        (["training.batchsize=3"], ["training.batchsize", "training.batch_size"]),
        (["modle.width=16"], ["modle", "model"]),
        (["training.batch_size=0"], ["training.batch_size", "0"]),
        (["training.batch_size=many"], ["training.batch_size", "many"]),
        (["training.learning_rate=.nan"], ["training.learning_rate"]),
        (["training.flow_share=1.5"], ["training.flow_share", "1.5"]),
        (["model.width=12"], ["model.width", "12"]),
        (["model.latents=[]"], ["model.latents"]),
        (["model.latents=[{stride: 3}]"], ["model.latents", "power of two"]),
        (["model.likelihood.kind=bernouli"], ["model.likelihood", "bernoulli"]),
        (["model.likelihood={kind: gaussian, components: 3}"], ["model.likelihood.components"]),
        (["data.image_size=big"], ["data.image_size", "big"]),
        (["data.channels=2"], ["data.channels", "2"]),
        (["training=5"], ["training"]),
        (["training.steps=5", "training={steps: 5, time: 3m}"], ["training", "steps", "time"]),
        (["objective.importance_samples=4", "objective.kl_weight=0.5"], ["importance_samples 4", "kl_weight=1"]),
        (["objective.importance_samples=4", "objective.perceptual=2"], ["importance_samples 4", "perceptual=0"]),
        (["objective.importance_samples=4", "objective.latent_noise=0.3"], ["importance_samples 4", "latent_noise=0"]),
        (["nonsense"], ["nonsense", "key=value"]),
        (["=5"], ["=5", "key=value"]),
        (["training.seed=[1"], ["training.seed"]),
        (['data.path="a\\0b"'], ["data.path", "null character"]),
        (['training.init="\\ud800"'], ["training.init", "unicode"]),
    ],
)
def test_errors_name_the_key_and_the_remedy(sets: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_config(sets=sets)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model.width=wide", "model.width: input should be a valid integer, unable to parse string as an integer (got"),
        ("model.latents=[{stride: 3}]", "model.latents.0: stride 3 is not a power of two"),
        ("model.latents=[{stride: 4, layers: 0}]", "model.latents.0.layers: input should be greater than or equal to"),
        ("data.patches=-3", "data.patches: input should be greater than or equal to 0 (got -3)"),
    ],
)
def test_a_key_with_alternatives_has_one_line_and_no_inner_names(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_config(sets=[text])
    assert str(caught.value).startswith(line) and len(str(caught.value).splitlines()) == 1, caught.value


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"smal: no such preset; did you mean small\?"):
        resolve_config(preset="smal")


@pytest.mark.parametrize(
    "content", ["- a\n- b\n", "training: {steps: 3\n", "5\n", "a: !!python/object/apply:os.getcwd []\n"]
)
def test_a_bad_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        resolve_config(file=path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        resolve_config(file=path)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        resolve_config(file=tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="File name too long"):
        resolve_config(file=Path("long" * 200))


LOLS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
HOSTILE = {
    "aliases of aliases": (LOLS + "training: {steps: *a8}\n", "values"),
    "aliases of aliases in one list": (
        "training: {steps: [" + LOLS.replace("\n", "}, ").replace("a", "{a") + "1]}",
        "",
    ),
    "one long text many times": ("a: &a " + "x" * 90_000 + "\nb: [" + ", ".join(["*a"] * 9_000) + "]\n", "values"),
    "a kind that is a long list": ("a: &a [1]\nmodel: {likelihood: {kind: [" + "*a, " * 9_000 + "]}}", "likelihood"),
    "merged mappings of mappings": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)),
        "values",
    ),
    "a list within itself": ("training: {steps: &a [*a]}", "values"),
    "deep lists": ("[" * 20_000, "levels"),
    "deep mappings": ("training: " + "{a: " * 5_000, "levels"),
    "base 60": ("training: {steps: " + ":".join(["59"] * 3_000) + "}", "training.steps"),
    "base 60 with a point": ("training: {time: 1:30.5}", "training.time"),
    "many hexadecimal digits": ("training: {steps: 0x" + "f" * 100_000 + "}", "training.steps"),
    "many digits": ("training: {seed: " + "9" * 100_000 + "}", "training.seed"),
    "a number beyond 64 bits": ("training: {warmup_steps: 99999999999999999999}", "warmup_steps"),
    "more than any memory": ("training: {batch_size: 4000000000000000000}", "batch_size"),
    "many unknown keys": ("".join(f"k{n}: 1\n" for n in range(5_000)), "k0: unknown setting"),
    "many unknown keys in a section": ("model:\n" + "".join(f"  k{n}: 1\n" for n in range(3_000)), "model.k0"),
    "many layers of latents": ("model: {latents: [" + "{stride: 4}, " * 3_000 + "]}", "model.latents"),
    "a long key": (f'? "{"k" * 900_000}"\n: 1\n', "unknown setting"),
    "a long value": (f"training: {{steps: {'x' * 900_000}}}", "training.steps"),
    "no calendar's day": ("data: {path: 2024-02-30}", "YAML"),
    "an empty number": ("training: {steps: !!int ''}", "YAML"),
    "a truth that is none": ("data: {augment: !!bool maybe}", "YAML"),
    "a null character": ("training: \0", "YAML"),
    "line breaks in keys": ('{"a\\nb": 1, "c\\n\\nd": 1, "e\\u2028f": 1}', "a\\nb: unknown setting"),
    "line breaks in a preset": ('preset: "a\\nb\\nc\\nd"', "a\\nb"),
    "line breaks in a value": ('training: {steps: "a\\nb\\nc\\nd"}', "training.steps"),
    "line breaks in an image size": ('data: {image_size: "a\\nb\\nc\\nd"}', "image_size"),
    "keys that are no names": ("training: {[1]: 2}", "YAML"),
    "keys that are numbers": ("training: {1: 2}", "training.1"),
    "more than a mebibyte": ("#" * (2**20 + 1), "1 MiB"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_few_short_lines(tmp_path: Path, kind: str) -> None:
    content, named = HOSTILE[kind]
    path = tmp_path / "hostile.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        resolve_config(file=path)
    lines = str(caught.value).splitlines()
    assert named in lines[0] and len(lines) <= 3 and all(len(line) < 600 for line in lines)


def test_unknown_keys_are_compared_with_known_ones_only_where_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    honest = config_values.nearest
    monkeypatch.setattr(config_values, "nearest", lambda name, known: compared.append(name) or honest(name, known))
    with pytest.raises(ConfigError):
        from_dict({f"k{n}": 1 for n in range(5_000)}, RunConfig)
    assert 3 <= len(compared) <= 100


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe would be waited for, a device read until memory ends."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.yaml", tmp_path / "link.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"not a regular file|[Ii]s a directory"):
            resolve_config(file=path)


def test_what_is_unusual_and_sound_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "sound.yaml"
    text = "training: &t {batch_size: 0x10, warmup_steps: 1_000, seed: 9223372036854775807, learning_rate: 1e-3}\n"
    path.write_text(
        text + "objective: {kl_warmup_steps: &n 70}\nmodel: {flow: {clusters: *n}}\n" + "# long\n" * 100_000
    )
    found = resolve_config(file=path)
    training = found.training
    assert (training.batch_size, training.warmup_steps, training.seed, training.learning_rate) == (
        16, 1000, 2**63 - 1, 1e-3,
    )  # fmt: skip
    assert found.objective.kl_warmup_steps == found.model.flow.clusters == 70


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert resolve_config(file=tmp_path / "empty.yaml") == resolve_config()


def test_switching_kind_drops_the_old_kind_s_fields() -> None:
    sets = ["model.likelihood={kind: logistic_mixture, components: 3}", "model.likelihood.kind=gaussian"]
    assert resolve_config(sets=sets).as_dict()["model"]["likelihood"] == {"kind": "gaussian"}
    kept = ["model.likelihood={kind: logistic_mixture, components: 3}", "model.likelihood.kind=logistic_mixture"]
    assert resolve_config(sets=kept).as_dict()["model"]["likelihood"]["components"] == 3


@pytest.mark.parametrize(("name", "text"), [("steps", "5"), ("epochs", "2.5"), ("time", "90")])
def test_a_budget_replaces_the_preset_s(name: str, text: str) -> None:
    training = resolve_config(preset="tiny", sets=[f"training.{name}={text}"]).training
    given = {budget: getattr(training, budget) for budget in ("steps", "epochs", "time")}
    assert given.pop(name) == float(text)
    assert set(given.values()) == {None}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert resolve_config(options={"training": {"time": text}}).training.time == seconds


@pytest.mark.parametrize("text", ["soon", "-5", "0", "10 minutes", ""])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.time"):
        resolve_config(options={"training": {"time": text}})


@pytest.mark.parametrize(("value", "size"), [(64, (64, 64)), ("48x64", (48, 64)), ("64", (64, 64)), ([8, 16], (8, 16))])
def test_image_sizes(value: Any, size: tuple[int, int]) -> None:
    assert resolve_config(options={"data": {"image_size": value}}).data.image_size == size


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().training.seed = 3  # type: ignore[misc]


def test_every_key_can_be_set() -> None:
    config = RunConfig().as_dict()
    for key in known_keys():
        inner: Any = config
        for name in key.split("."):
            inner = inner.get(name) if isinstance(inner, dict) else None
        layer = parse_assignment(f"{key}=1")
        assert merge(config, layer), inner


def test_every_preset_differs_from_the_defaults_but_small() -> None:
    assert {name for name in PRESETS if PRESETS[name]} >= set(PRESETS) - {"small"}


def test_there_are_sample_configurations() -> None:
    assert SAMPLES, "the next test would pass without a single file"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_sample_configurations_load_and_hold_only_differences(path: Path) -> None:
    """Each is a mapping of known keys that loads; it says something."""
    layer = parse_yaml(path.read_text(encoding="utf-8"))
    assert layer and isinstance(layer, dict)
    assert resolve_config(file=path) != resolve_config()


def test_samples_are_known_by_name_and_a_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sample_names() == [path.stem for path in SAMPLES]
    monkeypatch.chdir(tmp_path)
    assert resolve_config(file=Path("plane")) == resolve_config(file=SAMPLES[sample_names().index("plane")])
    with pytest.raises(ConfigError, match=r"planes: cannot be read .*; did you mean plane\?"):
        resolve_config(file=Path("planes"))
    (tmp_path / "plane").write_text("training: {seed: 77}\n")
    assert resolve_config(file=Path("plane"), sets=["training.steps=1"]).training.seed == 77
