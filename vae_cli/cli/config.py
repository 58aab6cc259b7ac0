"""`vae config`: every setting, its meaning, default and range."""

from pathlib import Path
from typing import Annotated

import typer

from vae_cli.cli import completion
from vae_cli.cli.results import Results, print_json, say


def config(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(
        metavar="[RUN]", autocompletion=completion.runs,
        help="Run, checkpoint or .safetensors file whose settings to show.")] = None,
    preset: Annotated[str | None, typer.Option(
        metavar="NAME", autocompletion=completion.presets, help="tiny, flat, small (default), base or nll.")] = None,
) -> None:  # fmt: skip
    """Show every setting, with its meaning, range and default.

    It is YAML that `vae train --config` reads; keep the lines that you change. Ready-made ones are known by name:
    augment, clothes, digits-likelihood, emoji, labels, photo, plane, textbook (vae train emoji --config emoji).

    Example: vae config --preset flat > mine.yaml
    """
    results: Results = context.obj
    from vae_cli.config import RunConfig
    from vae_cli.config_text import commented_yaml
    from vae_cli.jobs.settings import settings_of

    settings = settings_of(run, preset)
    if results.as_json:
        print_json("config", "ok", config=settings.as_dict(), json_schema=RunConfig.model_json_schema())
    else:
        say(commented_yaml(settings).rstrip())
    results.messages.next_step("vae train DATA --config mine.yaml")
