"""From a folder, list, zip or tar to batches: scan, split, decode once, cache, batches, close-ups, random masks."""
