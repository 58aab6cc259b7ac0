"""Where settings come from and how they override one another: defaults, presets, YAML files, `--set`, options."""

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vae_cli.atomic import read_bounded
from vae_cli.config import BUDGETS, Layer, RunConfig, from_dict, merge
from vae_cli.config_values import nearest
from vae_cli.errors import ConfigError
from vae_cli.presets import PRESETS

SAMPLES = Path(__file__).parent / "sample_configs"
MAX_BYTES = 2**20
"""Of a file of settings, which has some hundred bytes."""
MAX_VALUES, MAX_DEPTH, MAX_DIGITS, LONG_TEXT = 100_000, 50, 40, 50
"""Of YAML with its aliases written out: nine of nine of nine … are a terabyte in a few lines. So many characters count
as one more value."""


class _Loader(yaml.SafeLoader):
    """SafeLoader within the bounds above that reads numbers as YAML 1.2 does.

    There `1e-3` is a float (YAML 1.1 made it a string) and `59:59` is text (a number in base 60).
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._num_values = self._depth = 0
        self._sizes: dict[str, int] = {}  # values below each anchor

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next value with all that is in it."""
        event, num_before = self.peek_event(), self._num_values
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels deep", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        # of an alias within its own anchor there is no end
        is_alias, length = isinstance(event, yaml.AliasEvent), len(getattr(event, "value", ""))
        self._num_values += self._sizes.get(event.anchor, MAX_VALUES) if is_alias else 1 + length // LONG_TEXT
        if self._num_values > MAX_VALUES:
            problem = f"more than {MAX_VALUES:,} values, with its aliases written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._sizes[event.anchor] = self._num_values - num_before
        self._depth -= 1
        return node

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """An int or a float; text where it is neither in YAML 1.2, or too long for any setting."""
        text = self.construct_scalar(node)
        if ":" in text or len(text) > MAX_DIGITS:
            return text
        return self.construct_yaml_int(node) if node.tag == _INT else self.construct_yaml_float(node)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NUMBER = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts into quotes what the loader above takes for a number."""


for _either in (_Loader, _Dumper):
    _either.add_implicit_resolver(_FLOAT, _NUMBER, list("-+0123456789."))
for _tag in (_INT, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)


def parse_yaml(text: str) -> Any:
    """YAML as plain data; never runs code. Raises ValueError that says what is wrong, and where."""
    try:
        return yaml.load(text, Loader=_Loader)
    # Beside its own errors PyYAML lets through what Python raises for `!!int ""`, `!!bool maybe`, or a day that no
    # calendar has.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"not valid YAML{where}: {' '.join(problem.split())}") from error


def sample_names() -> list[str]:
    """What `--config` knows by name: the files of settings that ship with the package."""
    return sorted(path.stem for path in SAMPLES.glob("*.yaml"))


def read_layer(path: Path) -> Layer:
    """Settings of a YAML file, or of a sample by its name. Raises ConfigError when it cannot be read or is not a
    mapping."""
    is_name = path.name == str(path) and not path.suffix and not os.path.exists(path)  # also of too long a name
    if is_name and path.name in sample_names():
        path = SAMPLES / f"{path}.yaml"
    try:
        layer = parse_yaml(read_bounded(path, MAX_BYTES).decode())
    except (OSError, UnicodeDecodeError) as error:
        meant = nearest(str(path), names) if is_name and (names := sample_names()) else ""
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read ({reason}){meant}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(layer, dict | None):
        found = type(layer).__name__
        raise ConfigError(f"{path}: expected settings such as `training: {{steps: 1000}}`, found {found}")
    return layer or {}


def parse_assignment(text: str) -> Layer:
    """Layer of one `a.b=value`; the value is read as YAML. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: expected key=value, for instance --set training.batch_size=64")
    try:
        parsed = parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f"--set {text}: {error}") from error
    return nested(key.strip(), parsed)


def nested(dotted: str, value: Any) -> Layer:
    """The layer of one setting by its dotted key."""
    for name in reversed(dotted.split(".")):
        value = {name: value}
    return dict(value)


def resolve_config(
    *, preset: str | None = None, file: Path | None = None, sets: Sequence[str] = (), options: Layer | None = None
) -> RunConfig:
    """Built-in defaults < preset < file < `key=value` < named options. Raises ConfigError.

    `preset` None takes the file's `preset` where it names one, else `small`.
    """
    in_file = read_layer(file) if file else {}
    name = preset or in_file.get("preset") or "small"
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"--preset {name}: no such preset{nearest(str(name), PRESETS)}; known: {', '.join(PRESETS)}")
    given = [*map(parse_assignment, sets), options or {}]
    if any("preset" in layer for layer in given):
        raise ConfigError("preset: --set cannot choose it, since it comes before all settings; use --preset")
    layers = [PRESETS[name], in_file, *given, {"preset": name}]
    config = from_dict(functools.reduce(merge, layers, RunConfig().as_dict()), RunConfig)
    if all(getattr(config.training, name) is None for name in BUDGETS):
        raise ConfigError("training: no budget; give one of --steps, --epochs or --time")
    return config


def dump_yaml(config: RunConfig) -> str:
    """The configuration as YAML that `--config` reads back to the same object."""
    return to_yaml(config.as_dict())


def to_yaml(value: Any, **style: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back to the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style)
