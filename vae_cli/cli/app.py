"""The program `vae`: its commands, and the one place where errors become messages and exit codes."""

import contextlib
import importlib
import math
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from vae_cli import __version__
from vae_cli.cli import options
from vae_cli.cli.progress import print_line, silence
from vae_cli.cli.results import Results, print_json
from vae_cli.cli.stops import EXIT_CODES, heeded, stop
from vae_cli.errors import ConfigError
from vae_cli.foreign_errors import as_vae_error
from vae_cli.printable import printable

STARTED = time.monotonic()
"""When this invocation began (monotonic seconds): `train --time` counts from here. `Program.main` sets it."""

COMMANDS = {
    "train": "Learn a model from a folder of images.",
    "sample": "Draw new images.",
    "reconstruct": "Encode images and decode them again.",
    "inpaint": "Fill the holes of damaged images.",
    "masks": "Write a page to draw masks on, the holes that inpaint fills.",
    "denoise": "Remove noise from images of any size.",
    "style": "Carry a look over to other images.",
    "augment": "Write new images near each training image of DATA.",
    "interpolate": "Walk between two or more images.",
    "encode": "Write the latents of images to a file.",
    "evaluate": "Measure a model on images.",
    "score": "Rank images from the strangest to the most usual.",
    "similar": "Find the images that are most like others.",
    "report": "Write one page about a run.",
    "compare": "Show runs side by side: figures, settings, pictures.",
    "export": "Write a model as one file.",
    "check": "Say what is in a folder before training on it.",
    "config": "Show every setting, with its meaning, range and default.",
    "info": "Tell the facts about a run, or about this machine.",
}
"""What each does, as its own help begins: a function of that name in a module of that name in this package, which is
imported when its command is used: all of them together take longer than the rest of `vae --help`."""

_BUG = 70
_REMOTE = re.compile(r"(hf|https?|s3|gs|ftp)://", re.IGNORECASE)


class StoppedError(Exception):
    """The user ended the program, with this exit code. Of a KeyboardInterrupt itself Typer makes a silent 130."""


@contextlib.contextmanager
def _stops_as_errors() -> Iterator[None]:
    """Ctrl-C and the signals become StoppedError."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(EXIT_CODES[getattr(error, "number", signal.SIGINT)]) from error


class Command(TyperCommand):
    """A command, to whose own options those of all commands are added; `context.obj` is the Results that they ask for.

    Its help is plain text, because Rich would take half of the time.
    """

    def __init__(self, *, params: list[Any], **settings: Any) -> None:
        own = {param.name for param in params}
        self._shared = [param for param in _command_of(_options_of_all, TyperCommand).params if param.name not in own]
        super().__init__(params=[*params, *self._shared], **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Also refuses empty words, which are shell variables that are not set: as a path they would be this folder.

        Addresses are refused, too, and what is missing is named before Typer loads pydantic to check what is there.
        """
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            args = args[:-1]  # an option whose value is being completed, which would keep RUN from being read
        given, _, _ = self.make_parser(ctx).parse_args(args=[*args])
        for param in self.params:
            found = given.get(param.name)
            words = found if isinstance(found, list | tuple) else [found]
            if "" in words:
                name = param.opts[0] if param.param_type_name == "option" else str(param.metavar).strip("[]")
                raise ConfigError(f"{name}: an empty word was given; is a variable of the shell not set?")
            if address := next((word for word in words if isinstance(word, str) and _REMOTE.match(word)), None):
                hint = "download it, for instance with `hf download`, and give the folder or file"
                raise ConfigError(f"{address}: vae reads nothing from the network; {hint}")
        missing = next((param for param in self.params if param.required and not given.get(param.name)), None)
        if missing and "help" not in given and not ctx.resilient_parsing:
            ctx.fail(f"Missing argument '{missing.metavar}'.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        for param in self.params:  # not a number lies within any bounds
            value = ctx.params.get(param.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{param.opts[0]} {value}: give a finite number")
        given = {param.name: ctx.params.pop(param.name) for param in self._shared}
        ctx.obj = Results(str(self.name), given["device"], as_json=given["json"], quiet=given["quiet"],
                          verbose=given["verbose"])  # fmt: skip
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [self.options_metavar or "", *(_as_typed(param) for param in self.params
                                              if param.param_type_name == "argument")]  # fmt: skip

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, the usual options, the rarer ones, those of all commands; without Python's types and bounds."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                is_argument = param.param_type_name == "argument"
                title = "Arguments" if is_argument else getattr(param, "rich_help_panel", None) or "Options"
                name, text = _as_typed(param) if is_argument else record[0], record[1]
                if match := re.search(r"  \[([^][]*)]$", text):
                    text = text[: match.start()]
                    if match[1].startswith("default: "):
                        text += f"  [{match[1].split('; ')[0]}]"
                sections.setdefault(title, []).append((name, text))
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records, col_max=26)


def _as_typed(argument: Any) -> str:
    """RUN, [DATA], INPUT..."""
    name = argument.metavar if argument.required or argument.metavar.startswith("[") else f"[{argument.metavar}]"
    return f"{name}..." if argument.nargs == -1 else str(name)


class Program(TyperGroup):
    """The group of all commands: builds the one that is used, and translates every error once."""

    def __init__(self, **settings: Any) -> None:
        listed = {name: TyperCommand(name=name, help=text) for name, text in COMMANDS.items()}
        super().__init__(**settings | {"commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = _command_of(getattr(importlib.import_module(f"vae_cli.cli.{name}"), name), Command)
        return name, command, rest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.get_params(ctx):  # flags; to make a bool of the None of its own ones Typer loads pydantic
            param.default = param.default or False
        return super().parse_args(ctx, args)

    @_stops_as_errors()  # here, too: Typer loads more of itself
    def make_context(self, *args: Any, **settings: Any) -> Any:
        return super().make_context(*args, **settings)

    @_stops_as_errors()
    def invoke(self, ctx: Any) -> Any:
        return super().invoke(ctx)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **settings: Any) -> NoReturn:  # type: ignore[override]
        """Runs the command line `args` and leaves with the exit code of the command line's contract."""
        global STARTED
        STARTED = time.monotonic()
        Results.latest = None
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        elif words == ["version"]:
            words = ["--version"]
        settings["standalone_mode"] = False
        try:
            code = super().main(args=words, prog_name=prog_name or "vae", **settings)
        except Exception as error:
            if Results.latest:
                Results.latest.close_bar(error)
            code = _explain(error, words)
        finally:
            if locks := sys.modules.get("vae_cli.locks"):  # only if the command has written anything
                locks.release_claims()
        sys.exit(code or 0)


app = typer.Typer(name="vae", cls=Program, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["--help", "-h"]})  # fmt: skip


def main() -> NoReturn:
    """Entry point of `vae` and `python -m vae_cli`."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # this takes the place of a stream that was closed (`2>&-`), which the next file opened would take
    os.close(descriptor)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if not hasattr(stream, "reconfigure"):
            continue
        stream.reconfigure(errors="backslashreplace")  # no character of a file name can stop the program
        try:
            "é█".encode(stream.encoding)
        except (UnicodeEncodeError, LookupError):
            stream.reconfigure(encoding="utf-8")
    for number in heeded():
        if number != signal.SIGINT:  # which Python handles alike
            signal.signal(number, stop)
    app(prog_name="vae")
    raise AssertionError("the program leaves through sys.exit")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vae {__version__}")
        raise typer.Exit


@app.callback()
def _program(version: Annotated[bool, typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:  # fmt: skip
    """Learn a variational autoencoder from a folder of images and put it to work.

    Example: vae train photos && vae sample runs/photos -n 64 --out grid.png
    """


def _options_of_all(
    device: options.Device = "auto", seed: options.Seed = 0, json: options.Json = False, quiet: options.Quiet = False,
    verbose: options.Verbose = False, debug: options.Debug = False,
) -> None:  # fmt: skip
    """What every command takes; one that draws declares the seed itself, and `_explain` looks for `--debug`."""


def _command_of(function: Callable[..., None], kind: type[TyperCommand]) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(function.__name__, cls=kind)(function)
    return typer.main.get_command(alone)


def _explain(error: Exception, words: list[str]) -> int:
    """Tells the user what went wrong, on stderr and, with --json, on stdout. Returns the exit code."""
    code, lines = _message_of(error)
    if code == 2 and not lines:  # bare `vae`: its help was asked for, in a way
        print_line(str(error))
        return code
    if "--debug" in words:
        import traceback

        print_line("".join(traceback.format_exception(error)).rstrip())
    for number, line in enumerate(lines):
        print_line(f"error: {line}" if number == 0 else f"  {line}")
    if "--json" in words:
        command = next((word for word in words if word in COMMANDS), None)
        try:
            files = {"files": Results.latest.files} if Results.latest and Results.latest.files else {}
            print_json(command, "failed", error={"code": code, "message": "\n".join(lines)}, **files)
        except OSError:  # stdout is what cannot be written
            silence(sys.stdout)
    return code


def _message_of(error: Exception) -> tuple[int, list[str]]:
    """Exit code and one to three printable lines for any exception."""
    if isinstance(error, StoppedError):
        return error.args[0], ["stopped"]
    if isinstance(error, typer.TyperException):
        if type(error).__name__ == "NoArgsIsHelpError":
            return error.exit_code, []
        message = " ".join(error.format_message().split()).replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        hint = f"help: {context.command_path if context else 'vae'} --help"
        return ConfigError.exit_code, [str(ConfigError(message)), hint]
    if known := as_vae_error(error):
        return known.exit_code, (str(known) or "failed").split("\n")[:3]
    hint = "this is a bug of ours: please report it with what the same command prints with --debug"
    return _BUG, [f"{type(error).__name__}: {printable(' '.join(str(error).split())[:200])}", hint]
