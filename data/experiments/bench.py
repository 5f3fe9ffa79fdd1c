"""`make bench`: how fast this machine trains and samples, beside a diffusers network of like size, in one go.

Times are taken one after the other in one process; on a busy machine they are longer. Steps that would take
minutes are timed on their first steps and scaled, which the table says.
"""

from __future__ import annotations

import torch

from data.experiments.products import describe_machine
from data.experiments.speed import time_training, time_walk
from helpers.guidance import Guided
from helpers.models import UNet, parameter_count
from helpers.modes import choose
from helpers.sampling import ancestral, ddim, dpm_solver
from helpers.schedule import cosine

BATCH, IMAGES = choose(64, 4), choose(64, 4)
TRAIN_STEPS, TIMED = choose(12, 2), choose(50, 2)  # how many steps are timed, at most
WALKS = [("DPM-Solver++", dpm_solver, 15), ("DPM-Solver++", dpm_solver, 20)]
WALKS += [("DDIM", ddim, 10), ("DDIM", ddim, 50), ("ancestral", lambda steps: ancestral(), 1000)]


class OfDiffusers(torch.nn.Module):
    """A diffusers UNet2DModel called as the course's networks are. Raises ImportError without the package."""

    def __init__(self):
        super().__init__()
        from helpers.torchvision_compat import import_torchvision

        import_torchvision()
        from diffusers import UNet2DModel

        self.prediction = "v"
        shape = dict(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1)
        shape |= dict(block_out_channels=(16, 48, 80), norm_num_groups=8, attention_head_dim=20)
        shape |= dict(down_block_types=["DownBlock2D"] * 3, up_block_types=["UpBlock2D"] * 3)
        self.inner = UNet2DModel(**shape)

    def forward(self, x, t):
        return self.inner(x, t).sample


def bench_sampling(model, sampler: str, make_rule, steps: int, bf16: bool = False) -> None:
    """Print the seconds for IMAGES images with all `steps`."""
    seconds = time_walk(model, cosine(), make_rule(steps), IMAGES, TIMED, bf16)
    how = ("bfloat16" if bf16 else "float32") + (f", scaled from {TIMED} steps" if TIMED < steps else "")
    print(f"  {IMAGES} images, {sampler:20} {steps:5} steps {seconds:7.1f} s   ({how})", flush=True)


def bench_network(name: str, model) -> None:
    """Print the rows of one network."""
    print(f"\n{name}: {parameter_count(model):,} parameters", flush=True)
    data = torch.randn(256, 1, 28, 28).clamp(-1, 1)
    for kind in ("float32", "bfloat16"):
        seconds = time_training(model, cosine(), data, TRAIN_STEPS, BATCH, kind == "bfloat16", warm=2)
        print(f"  training            {BATCH / seconds:8.0f} images/s   (batch {BATCH}, {kind})", flush=True)
    model.eval().requires_grad_(False)
    for walk in WALKS:
        bench_sampling(model, *walk)
    bench_sampling(model, *WALKS[0], bf16=True)


def main() -> None:
    """Run the whole bench."""
    torch.manual_seed(0)
    print(describe_machine())
    bench_network("course U-Net (16, 48, 96), 28x28", UNet(channels=(16, 48, 96)))
    labelled = UNet(channels=(16, 48, 96), classes=10).eval().requires_grad_(False)
    bench_sampling(Guided(labelled, 7), "DPM-Solver++ guided", dpm_solver, 15)
    try:
        bench_network("diffusers UNet2DModel (16, 48, 80), 28x28", OfDiffusers())
    except ImportError:
        print("\ndiffusers is not installed: pip install -r requirements.txt adds the comparison")


if __name__ == "__main__":
    main()
