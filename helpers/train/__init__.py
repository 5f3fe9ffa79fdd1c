"""What `make train` runs, one file a training. Each is resumable and writes to data/checkpoints and data/results."""
