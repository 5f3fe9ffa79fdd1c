"""The MNIST U-Net of notebook 04: one hour on two cores. Snapshots of the averaged weights along the way."""

from __future__ import annotations

import torch

from helpers import checkpoints, data
from helpers.models import UNet, parameter_count
from helpers.schedule import cosine
from helpers.train.resumable import finished, train_resumably
from helpers.training import Run, bf16_is_faster

NAME = "mnist_unet"
STEPS, BATCH, LR, SEED = 24_000, 64, 1e-3, 0
SNAPSHOTS = {400: "1min", 2_000: "5min", 8_000: "20min"}  # steps: minutes on two cores of our machine


def network() -> UNet:
    """28 -> 14 -> 7, about 1 M parameters, predicts v."""
    torch.manual_seed(SEED)
    return UNet(channels=(16, 48, 96), prediction="v")


def main() -> None:
    """Train, and write data/checkpoints/mnist_unet*.safetensors."""
    x, _ = data.mnist()
    model = network()
    run = Run(model, lr=LR, seed=SEED)
    bf16 = bf16_is_faster(model, x[:BATCH], torch.zeros(BATCH, dtype=torch.long))
    recipe = dict(data="mnist", schedule="cosine", T=1000, prediction="v", steps=STEPS, batch_size=BATCH,
                  lr=LR, seed=SEED, ema=run.ema.decay, optimizer="AdamW", bf16=bf16,
                  parameters=parameter_count(model))  # fmt: skip

    def snapshot(run, log):
        path = checkpoints.CHECKPOINTS / f"{NAME}_{SNAPSHOTS[run.step]}.safetensors"
        checkpoints.save_model(path, run.ema.model, {**recipe, "step": run.step}, log)

    log = train_resumably(NAME, run, cosine(), x, STEPS, SNAPSHOTS, snapshot, batch_size=BATCH, bf16=bf16)
    path = checkpoints.CHECKPOINTS / f"{NAME}.safetensors"
    checkpoints.save_model(path, run.ema.model, {**recipe, "step": run.step}, log)
    finished(NAME)


if __name__ == "__main__":
    main()
