"""Training: programs, runs, their state and the environment they ran in."""
