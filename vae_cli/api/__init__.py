"""The Python API behind `vae_cli.load`, `vae_cli.train`, `vae_cli.Model` and `vae_cli.Images`."""
