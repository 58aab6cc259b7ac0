"""Numbers about models and pictures, each a pure function."""
