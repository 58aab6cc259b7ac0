"""What `vae train` says while its job goes on."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vae_cli.cli.progress import Messages, clock
from vae_cli.jobs.events import Advanced, Remark
from vae_cli.printable import printable

if TYPE_CHECKING:
    from vae_cli.jobs.train import Started, TrainingEvent
    from vae_cli.training.estimate import Estimate
    from vae_cli.training.events import Shortened
    from vae_cli.training.inputs import TrainingInputs


def show_event(event: "TrainingEvent", messages: Messages, patience: int) -> None:
    """Shows an event on stderr, if it is anything to be shown. patience: `training.patience`."""
    from vae_cli.jobs.train import Started
    from vae_cli.training import events

    match event:
        case Advanced(what, done, total):
            messages.status(f"{what}: {done}/{total}")
        case Remark():
            messages.remark(event)
        case Started():
            for line in started_lines(event):
                messages.note(line)
        case events.StepLogged():
            messages.status(
                f"{event.phase} {event.fraction:4.0%}  step {event.step}  {figures_line(event.figures)}  "
                f"{event.images_per_second:.0f} images/s  {clock(event.seconds_left)} left"
            )
        case events.Validated(phase, step, score, is_best):
            messages.detail(f"{phase} step {step}: validation loss {score:.4f}{' (best)' if is_best else ''}")
        case events.Shortened():
            messages.note(shortened_line(event, patience))
        case events.Retreated():
            messages.note(
                f"{event.phase} step {event.step}: the gradients have exploded; back to the best weights so far, "
                f"learning rate times {event.rate_factor:g} from here on"
            )
        case events.Calibrating():
            messages.note("trained; now measuring how samples are best drawn and fills best trusted …")
        case events.Saved(path):
            messages.detail(f"saved {printable(path)}")
        case events.PhaseDone() if event.num_refused:
            messages.warn(f"{event.num_refused} updates of the {event.phase} phase were refused as out of bounds")


def started_lines(event: "Started") -> Iterator[str]:
    """What is learned from, what is trained, for how long, and from where."""

    run, inputs, config = event.run, event.run.inputs, event.run.inputs.config
    (height, width), training = config.data.image_size, config.training
    kind = "grey" if config.data.channels == 1 else "colour"
    labels = f", {len(inputs.label_names)} labels" if inputs.label_names else ""
    yield (f"{len(inputs.train.ids)} images to learn from, {len(inputs.validation.ids)} held out, "
           f"{len(inputs.skipped)} skipped; {height}×{width} {kind}{labels}")  # fmt: skip
    where = f"device {inputs.runtime.device} ({inputs.runtime.precision})"
    yield f"{where}, preset {config.preset}, seed {training.seed}"
    budget = f"{run.budget.seconds:.0f} s of training, {1 - training.flow_share:.0%} for the VAE"
    if run.budget.steps is not None:
        budget = f"{run.budget.steps} updates, {training.vae_steps(run.budget.steps)} of them for the VAE"
    expected = "" if event.seconds is None else f", about {clock(event.seconds)}"
    yield f"{budget}{expected}; run folder {printable(run.folder)}; Ctrl-C stops and saves"
    if run.state.step:
        factor = run.state.guard.rate_factor
        lowered = f", at its learning rate times {factor:g}: the gradients had exploded" if factor < 1 else ""
        yield f"going on at step {run.state.step} ({run.state.phase} phase){lowered}"


def cost_text(inputs: "TrainingInputs", cost: "Estimate") -> str:
    """The configuration as YAML, and in a comment below it what a run would cost."""
    from vae_cli.config_layers import dump_yaml

    steps = f"{cost.steps} updates, " if cost.steps else ""
    return (f"{dump_yaml(inputs.config)}# {len(inputs.train.ids)} images, {cost.parameters / 1e6:.1f} M parameters, "
            f"{steps}about {clock(cost.seconds)}, {cost.memory_bytes / 2**30:.1f} GiB of memory, "
            f"{cost.disk_bytes / 2**20:.0f} MiB of disk")  # fmt: skip


def figures_line(figures: Mapping[str, float]) -> str:
    """The figures of a log line; active units as `active 12/32`."""
    words = [f"{name} {value:.4g}" for name, value in figures.items() if name not in ("active_units", "latent_units")]
    if "active_units" in figures:
        words.append(f"active {figures['active_units']:.0f}/{figures['latent_units']:.0f}")
    return "  ".join(words)


def shortened_line(event: "Shortened", patience: int) -> str:
    """Why a phase uses less than its budget."""
    then = "the phase ends here" if event.is_end else "the learning rate falls from here on"
    return (f"{event.phase} step {event.step}: {patience} validations without a better score; "
            f"back to the weights of step {event.best_step}, {then}")  # fmt: skip
