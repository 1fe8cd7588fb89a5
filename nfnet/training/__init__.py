"""Training: configuration, the jitted step, checkpoints, run logs and the loop that ties them together."""
