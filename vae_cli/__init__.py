"""vae: learn a variational autoencoder from a folder of images and put it to work."""

__version__ = "0.1.0"
