"""From a folder, list or zip to batches: scan, split, decode once, cache, batches, close-ups, random masks."""
