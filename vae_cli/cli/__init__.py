"""What the user types and sees: thin commands over the tasks, progress, and where results go."""
