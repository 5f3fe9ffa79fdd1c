"""The class-conditional MNIST U-Net of notebook 06: mnist_unet trained on with labels, one in ten dropped."""

from __future__ import annotations

import torch

from helpers import checkpoints, data
from helpers.models import UNet, parameter_count
from helpers.schedule import cosine
from helpers.train.resumable import finished, train_resumably
from helpers.training import Run, bf16_is_faster

NAME = "mnist_classes"
STEPS, BATCH, LR, SEED, DROP = 6_000, 64, 5e-4, 0, 0.1
START = "mnist_unet"


def network() -> UNet:
    """The network of notebook 04 with ten classes and "no label": the same function until it is trained.

    Its label embedding is zero at first, so START's weights go on where they stopped.
    """
    torch.manual_seed(SEED)
    model = UNet(channels=(16, 48, 96), prediction="v", classes=10)
    left_out, extra = model.load_state_dict(checkpoints.load_model(START).state_dict(), strict=False)
    if left_out != ["label.weight"] or extra:
        raise ValueError(f"{START} is another network: {left_out} {extra}; train it again with `make train`")
    return model


def main(steps: int = STEPS, folder=None) -> None:
    """Train `steps` steps, and write mnist_classes.safetensors into data/checkpoints (or `folder`)."""
    x, y = data.mnist()
    model = network()
    run = Run(model, lr=LR, seed=SEED)
    none = torch.full((BATCH,), model.classes)
    probe = (x[:BATCH], torch.zeros(BATCH, dtype=torch.long), none)
    bf16 = bf16_is_faster(model, *probe)
    recipe = dict(data="mnist", start=START, schedule="cosine", T=1000, prediction="v", classes=10, drop=DROP,
                  steps=steps, batch_size=BATCH, lr=LR, seed=SEED, ema=run.ema.decay, optimizer="AdamW",
                  bf16=bf16, parameters=parameter_count(model))  # fmt: skip
    log = train_resumably(NAME, run, cosine(), x, steps, batch_size=BATCH, bf16=bf16, labels=y, drop=DROP)
    path = (folder or checkpoints.CHECKPOINTS) / f"{NAME}.safetensors"
    checkpoints.save_model(path, run.ema.model, {**recipe, "step": run.step}, log)
    finished(NAME)


if __name__ == "__main__":
    main()
