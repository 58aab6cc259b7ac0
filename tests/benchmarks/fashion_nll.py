"""Likelihood of Fashion-MNIST after an hour: at most 227 nats binarised, with --bits at most 3.45 bits/dim.

    python tests/benchmarks/fashion_nll.py --data FOLDER --work FOLDER [--minutes 60] [--bits]

`vae train --preset nll --labels none --time 60m` on the first 55,000 training images (the program holds out about 5 %
of them), then `vae evaluate --importance-samples 1000` on images 55,000 to 56,999, of the 5,000 held out.

Without --bits, `data.binarize=dynamic`: training images are drawn black or white anew at every visit, measured ones
once (NumPy's legacy generator, seed 777). With --bits, all 256 grey levels under a discretised likelihood (--likelihood
names another kind); bits/dim = nats ÷ (784 ln 2), exact for 8-bit data.

Deviations from the published tables: held-out training images stand in for the test set, which stays untouched; 2,000
images instead of 10,000; drawn in the order of this program's scan; 55,000 training images where those tables have
50,000; 1,000 importance samples instead of 5,000, which reports a slightly higher number; a budget of minutes. Lossless
compressors' bits/dim are code lengths, which a bound or an estimate of the likelihood can only approach.
"""

import common
import likelihood


def main() -> None:
    parser = likelihood.parser(__doc__)
    parser.add_argument("--bits", action="store_true", help="8-bit grey levels instead of drawn black and white")
    parser.add_argument("--likelihood", default="discretized_logistic", metavar="KIND", help="with --bits")
    args = parser.parse_args()
    first, last = common.NUM_TRAINED, common.NUM_TRAINED + args.images
    trained_on = common.indexed_files(args.data, common.FASHION, 0, common.NUM_TRAINED)
    unseen = common.indexed_files(args.data, common.FASHION, first, last)
    if args.bits:
        name, setting = f"fashion-nll-{args.likelihood}", f"model.likelihood.kind={args.likelihood}"
        target, pixels = common.Target("bits_per_dim", 3.45), "8-bit grey levels"
    else:
        name, setting = "fashion-nll", "data.binarize=dynamic"
        target, pixels = common.Target("nll_nats", 227.0), "dynamic; held-out images drawn once, seed 777"
    likelihood.run(
        name, args,
        learn_from=common.link_images(args.work / f"fashion-first-{common.NUM_TRAINED}", trained_on),
        measure_on=common.link_images(args.work / f"fashion-from-{first}-to-{last - 1}", unseen),
        settings=[setting], target=target,
        protocol={"binarization": pixels, "measured": f"training images {first} to {last - 1}, held out"},
    )  # fmt: skip


if __name__ == "__main__":
    main()
