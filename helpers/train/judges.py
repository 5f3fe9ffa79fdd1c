"""The classifiers that measure samples: two each for digits, MNIST, Fashion-MNIST; other seeds and widths."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from helpers import checkpoints, classifiers, data
from helpers.training import bf16_is_faster

# data and kind: image size, first width, seed, epochs, standard deviation of the noise added to inputs
JUDGES = {
    "digits_features": (8, 32, 1, 60, 0.10), "digits_judge": (8, 24, 2, 60, 0.10),
    "mnist_features": (28, 24, 3, 4, 0.10), "mnist_judge": (28, 32, 4, 4, 0.10),
    "fashion_features": (28, 24, 5, 8, 0.10), "fashion_judge": (28, 32, 6, 8, 0.10),
}  # fmt: skip


def split(source: str):
    """(train images, labels, test images, labels); the digits' test set is every fifth image."""
    if source != "digits":
        load = data.mnist if source == "mnist" else data.fashion_mnist
        return (*load(True), *load(False))
    x, y = data.digits()
    test = torch.arange(len(x)) % 5 == 0
    return x[~test], y[~test], x[test], y[test]


def shift(x, g, most: int):
    """Move the whole batch (B, 1, S, S) by up to `most` pixels; -1 comes in at the border."""
    dy, dx = torch.randint(-most, most + 1, (2,), generator=g).tolist()
    padded = F.pad(x, (most,) * 4, value=-1.0)
    return padded[..., most + dy : most + dy + x.shape[-2], most + dx : most + dx + x.shape[-1]]


def train_one(name: str) -> dict:
    """Train and save one classifier; returns its test accuracy and share of confident test images."""
    source = name.partition("_")[0]
    size, width, seed, epochs, noise = JUDGES[name]
    x, y, x_test, y_test = split(source)
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model = classifiers.Classifier(size, width)
    batch, bf16 = 64 if size == 8 else 128, size == 28 and bf16_is_faster(model, x[:128])
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        pick = torch.randint(len(x), (batch,), generator=g)
        images = shift(x[pick], g, 1 if size == 28 else 0)
        images = images + noise * torch.randn(images.shape, generator=g)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            scores = model(images)
        loss = F.cross_entropy(scores.float(), y[pick])
        optimizer.zero_grad(), loss.backward(), optimizer.step(), rate.step()
    model.eval()
    with torch.no_grad():
        p = torch.cat([F.softmax(model(b), 1) for b in x_test.split(500)])
    accuracy, confident = (p.argmax(1) == y_test).float().mean(), (p.max(1).values > 0.95).float().mean()
    scores = dict(accuracy=round(accuracy.item(), 4), confident=round(confident.item(), 4))
    scores["test_images"] = len(x_test)
    recipe = dict(data=source, epochs=epochs, batch_size=batch, lr=2e-3, seed=seed, noise=noise)
    checkpoints.save_model(checkpoints.CHECKPOINTS / f"{name}.safetensors", model, recipe, scores)
    print(name, scores, flush=True)
    return {**recipe, **scores}


def main() -> None:
    """Train all six; write data/results/judges.json."""
    checkpoints.save_results("judges", {name: train_one(name) for name in JUDGES})


if __name__ == "__main__":
    main()
