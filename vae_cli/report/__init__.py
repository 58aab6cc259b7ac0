"""HTML pages that open without a network: one self-contained file each."""
