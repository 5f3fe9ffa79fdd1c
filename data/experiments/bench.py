"""`make bench`: how fast this machine trains and samples, beside a diffusers network of like size, in one go.

Times are taken one after the other in one process; on a busy machine they are longer. Steps that would take
minutes are timed on their first steps and scaled, which the table says.
"""

from __future__ import annotations

import time
from itertools import islice

import torch

from helpers.checkpoints import machine
from helpers.guidance import Guided
from helpers.models import UNet, parameter_count
from helpers.modes import choose
from helpers.sampling import ancestral, ddim, dpm_solver, reverse
from helpers.schedule import cosine
from helpers.training import Run, train

BATCH, IMAGES = choose(64, 4), choose(64, 4)
TRAIN_STEPS, TIMED = choose(12, 2), choose(50, 2)  # how many steps are timed, at most
WALKS = [("DPM-Solver++", dpm_solver(15), 15), ("DPM-Solver++", dpm_solver(20), 20),
         ("DDIM", ddim(10), 10), ("DDIM", ddim(50), 50), ("ancestral", ancestral(), 1000)]  # fmt: skip


class OfDiffusers(torch.nn.Module):
    """A diffusers UNet2DModel called as the course's networks are. Raises ImportError without the package."""

    def __init__(self):
        super().__init__()
        from helpers.torchvision_compat import import_torchvision

        import_torchvision()
        from diffusers import UNet2DModel

        self.prediction = "v"
        self.inner = UNet2DModel(
            sample_size=28, in_channels=1, out_channels=1, layers_per_block=1,
            block_out_channels=(16, 48, 80), norm_num_groups=8, attention_head_dim=20,
            down_block_types=["DownBlock2D"] * 3, up_block_types=["UpBlock2D"] * 3,
        )  # fmt: skip

    def forward(self, x, t):
        return self.inner(x, t).sample


def measure_training(model, bf16: bool) -> float:
    """Images a second of the training loop, after two steps to warm up."""
    data = torch.randn(256, 1, 28, 28).clamp(-1, 1)
    steps = train(Run(model), cosine(), data, TRAIN_STEPS + 2, batch_size=BATCH, bf16=bf16)
    next(steps), next(steps)
    start = time.perf_counter()
    done = sum(1 for _ in steps)
    return done * BATCH / (time.perf_counter() - start)


def time_sampling(model, sampler: str, rule, steps: int, bf16: bool = False) -> None:
    """Print the seconds for IMAGES images with all `steps`."""
    timed = min(steps, TIMED)
    walk = reverse(model, cosine(), rule, (IMAGES, 1, 28, 28), clip_x0=1.0)
    next(walk)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for _ in islice(walk, timed):
            pass
    seconds = (time.perf_counter() - start) * steps / timed
    how = ("bfloat16" if bf16 else "float32") + (f", scaled from {timed} steps" if timed < steps else "")
    print(f"  {IMAGES} images, {sampler:20} {steps:5} steps {seconds:7.1f} s   ({how})", flush=True)


def bench_network(name: str, model) -> None:
    """Print the rows of one network."""
    print(f"\n{name}: {parameter_count(model):,} parameters", flush=True)
    for kind in ("float32", "bfloat16"):
        speed = measure_training(model, kind == "bfloat16")
        print(f"  training            {speed:8.0f} images/s   (batch {BATCH}, {kind})", flush=True)
    model.eval().requires_grad_(False)
    for sampler, rule, steps in WALKS:
        time_sampling(model, sampler, rule, steps)
    time_sampling(model, "DPM-Solver++", dpm_solver(15), 15, bf16=True)


def main() -> None:
    """Run the whole bench."""
    torch.manual_seed(0)
    print(machine())
    bench_network("course U-Net (16, 48, 96), 28x28", UNet(channels=(16, 48, 96)))
    labelled = UNet(channels=(16, 48, 96), classes=10).eval().requires_grad_(False)
    time_sampling(Guided(labelled, 7), "DPM-Solver++ guided", dpm_solver(15), 15)
    try:
        bench_network("diffusers UNet2DModel (16, 48, 80), 28x28", OfDiffusers())
    except ImportError:
        print("\ndiffusers is not installed: pip install -r requirements.txt adds the comparison")


if __name__ == "__main__":
    main()
