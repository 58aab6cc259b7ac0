"""From the user's files to batches: scan, decode, cache, batches, masks and damage."""
