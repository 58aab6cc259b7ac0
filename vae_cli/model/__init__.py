"""The mathematics: densities, networks, the VAE and the latent flow. Knows nothing of files or commands."""
