"""What `make train` runs, one file a training; each writes to data/checkpoints or data/results."""
