"""One job per file: a loaded model and arrays go in, arrays and records come out; no files are touched."""
