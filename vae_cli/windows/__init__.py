"""Where a model looks at a picture of any size, and how its answer comes back."""
