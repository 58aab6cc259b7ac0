"""One image file -> one uint8 array: modes, depths, orientation, colours; and the two pixel converters."""
