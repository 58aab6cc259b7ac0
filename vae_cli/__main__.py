"""`python -m vae_cli` and `torchrun -m vae_cli` run the same program as the `vae` console script."""

from vae_cli.cli.app import main

if __name__ == "__main__":
    main()
