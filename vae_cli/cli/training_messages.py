"""What `vae train` says while its job goes on."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vae_cli.cli.progress import Messages
from vae_cli.jobs.events import Remark
from vae_cli.jobs.model_warnings import fill_share_line, rebuilt_words
from vae_cli.printable import printable
from vae_cli.screen import Show, Standings, clock

if TYPE_CHECKING:
    from vae_cli.jobs.train import Started, TrainingEvent
    from vae_cli.training.estimate import Estimate
    from vae_cli.training.events import Shortened
    from vae_cli.training.inputs import TrainingInputs


def show_event(event: "TrainingEvent", messages: Messages, standings: Standings, show: Show, patience: int) -> None:
    """Shows an event on stderr, if it is anything to be shown. patience: `training.patience`."""
    from vae_cli.jobs.train import Started
    from vae_cli.training import events

    if standing := standings.trained(event):
        show(standing)
    match event:
        case Remark():
            messages.remark(event)
        case Started():
            for line in started_lines(event):
                messages.note(line)
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
    yield f"{where}, preset {printable(config.preset)}, seed {training.seed}"
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


def shortened_line(event: "Shortened", patience: int) -> str:
    """Why a phase uses less than its budget."""
    then = "the phase ends here" if event.is_end else "the learning rate falls from here on"
    return (f"{event.phase} step {event.step}: {patience} validations without a better score; "
            f"back to the weights of step {event.best_step}, {then}")  # fmt: skip


def finished_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """How good a finished model is, how long it took, and where its pictures are. facts: of its JSON object."""
    measured, samples, folder = facts["validation"], facts["samples"], printable(facts["run"])
    quality, number = measured["psnr_db"], measured["images"]
    yield f"reconstructions  {quality:.1f} dB on {number} held-out images: {rebuilt_words(quality, number)}"
    copies = samples["copies"]
    copied = f"{copies or 'none'} of {samples['drawn']} {'copy' if copies > 1 else 'copies'} a training image"
    yield f"samples          {samples['detail']:.0%} of the detail of your images; {copied}"
    if facts["fill_share"] is not None:
        yield f"fills            {fill_share_line(facts['fill_share'])}"
    yield f"time             {clock(facts['seconds'])}"
    yield f"pictures         {folder}/previews, all on one page: {folder}/report.html"
