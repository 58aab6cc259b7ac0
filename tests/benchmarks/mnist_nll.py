"""Likelihood of dynamically binarised MNIST after eight minutes: at most 84 nats, importance-weighted.

    python tests/benchmarks/mnist_nll.py --data FOLDER --work FOLDER [--minutes 8]

`vae train --preset nll --labels none --set data.binarize=dynamic --time 8m` on the 60,000 training images (the program
holds out about 5 % of them), then `vae evaluate --importance-samples 100 --limit 1000` on the test images.

Deviations from the published tables: 1,000 of the 10,000 test images (those with the lowest hashes; --limit 10000
takes all), binarised once with a seed of the program's own draw; 100 importance samples instead of 1,000 to 5,000,
which reports a slightly higher number.
"""

import common

TARGETS = (common.Target("nll_nats", 84.0),)


def main() -> None:
    parser = common.parser(__doc__, data=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training (default 8)")
    parser.add_argument("--limit", type=int, default=1000, help="test images (default 1000)")
    parser.add_argument("--importance-samples", type=int, default=100, help="an image (default 100)")
    args = parser.parse_args()
    run, trained = common.train(
        args.work, "mnist-nll", args.data / "mnist" / "train", "--preset", "nll", "--labels", "none",
        "--set", "data.binarize=dynamic", "--time", common.seconds_of(args.minutes),
        "--device", args.device, "--seed", args.seed,
    )  # fmt: skip
    measured = common.vae_json(
        args.work, "evaluate", run, args.data / "mnist" / "test", "--importance-samples", args.importance_samples,
        "--limit", args.limit, "--device", args.device, "--seed", args.seed,
    )  # fmt: skip
    names = ("images", "nll_nats", "elbo_nats", "rate_nats", "distortion_nats", "active_units")
    common.table([("figure", "value"), *((name, measured.facts[name]) for name in names)])
    print(f"{trained['steps']} steps, {trained['parameters']} parameters; measured in {measured.seconds:.0f} s")
    figures = {name: value for name, value in measured.facts.items() if name not in ("files", "command", "status")}
    common.finish(
        "mnist_nll",
        {**figures, "evaluation_seconds": measured.seconds, "training": trained},
        targets=TARGETS,
        protocol={"binarization": "dynamic; test images drawn once", "minutes": args.minutes, "test_images": args.limit,
                  "importance_samples": args.importance_samples, "seed": args.seed},
        precision=trained["precision"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
