"""Training: one jitted step, schedules, optimizers, the loop, checkpoints and records."""
