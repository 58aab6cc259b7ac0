"""A user's picture in, the same picture out: read as stored, changed in its hole, written in its own format."""
