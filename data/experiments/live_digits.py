"""The digits that the web page draws: the network of notebook 06 as one ONNX file, and a recorded film.

    python -m data.experiments.live_digits           # both files, into notebooks/live
    python -m data.experiments.live_digits compare   # what smaller weights cost, in the course's scores

Readers need none of this: the files are in the repository. To make them anew, install onnx 1.23,
onnxscript 0.7 and onnxruntime 1.31 beside requirements.txt; the film alone (`film`) needs nothing more.

`compare` found, for 200 samples in 15 guided steps from the same noise, these largest differences of a
pixel from PyTorch (range 2): float32 0.00009 (4.23 MB), float16 0.04 (2.60 MB), int16 0.004 (2.60 MB), int8 2
(another digit; 1.79 MB). The distance stayed 16.50 in all but int8 (16.49), and all were confident.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.experiments.measures import judge, noise
from data.experiments.mnist import load_network, schedule_of_network
from helpers import show
from helpers.guidance import Guided
from helpers.sampling import dpm_solver, last, reverse

LIVE = Path(__file__).resolve().parents[2] / "notebooks" / "live"
NETWORK = "mnist_classes"
INPUTS = ("x", "t", "y")
PRECISIONS = ("float32", "float16", "int16", "int8")
SHIPPED = "int16"
FILM = dict(digits=[3, 1, 4, 1, 5, 9, 2, 6], steps=50, scale=2.0, eta=1.0, frames=26, seed=3)
LARGE = 22_000  # weights with fewer entries stay float32: where pictures are large, small errors count most


def export(model):
    """The network as an ONNX graph: x (B, 1, 28, 28) float32, t and y (B,) int64, to `out`, shaped like x."""
    example = torch.zeros(2, 1, 28, 28), torch.tensor([1, 1000]), torch.tensor([0, 10])
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = {name: {0: batch} for name in INPUTS}
    options = dict(input_names=list(INPUTS), output_names=["out"], dynamic_shapes=shapes, dynamo=True)
    return torch.onnx.export(model.eval(), example, **options, verbose=False).model_proto


def shrink(graph, precision: str):
    """A copy of the graph whose large weights are stored in fewer bits and become float32 on loading.

    The runtime undoes this once, when it loads the file, so that drawing takes as long as before.
    Raises ValueError for another precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {PRECISIONS}, got {precision!r}")
    import onnx
    from onnx import numpy_helper

    graph = onnx.ModelProto.FromString(graph.SerializeToString())
    weights, nodes = [], []
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        if precision == "float32" or values.dtype != np.float32 or values.size < LARGE:
            weights.append(weight)
        else:
            stored, restoring = _store(weight.name, values, precision)
            weights += [numpy_helper.from_array(array, name) for name, array in stored.items()]
            nodes += restoring
    nodes += graph.graph.node
    for node in nodes:  # of the export: where it found each node in the source
        node.doc_string = ""
        del node.metadata_props[:]
    del graph.graph.initializer[:], graph.graph.node[:], graph.graph.value_info[:], graph.metadata_props[:]
    graph.graph.initializer.extend(weights), graph.graph.node.extend(nodes)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _store(name: str, values: np.ndarray, precision: str) -> tuple[dict, list]:
    """({name: array to store}, nodes that make of them the float32 weight called `name`).

    int16, int8: whole numbers with one scale for each output channel; at the size of float16, int16 is an
    order of magnitude nearer, since no bits go to an exponent.
    """
    from onnx import TensorProto
    from onnx.helper import make_node

    small, wide, scale = (f"{name}.{part}" for part in (precision, "wide", "scale"))
    if precision == "float16":
        return {small: values.astype(np.float16)}, [make_node("Cast", [small], [name], to=TensorProto.FLOAT)]
    scales = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True) / np.iinfo(precision).max
    scales = np.maximum(scales, 1e-12).astype(np.float32)
    nodes = [
        make_node("Cast", [small], [wide], to=TensorProto.FLOAT),
        make_node("Mul", [wide, scale], [name]),
    ]
    return {small: np.round(values / scales).astype(precision), scale: scales}, nodes


class FromFile:
    """An ONNX file in the place of the network: called with x (B, 1, 28, 28), t and y (B,), gives v like x.

    content: the bytes of the file.
    """

    prediction, classes = "v", 10

    def __init__(self, content: bytes, threads: int = 1):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, *inputs: Tensor) -> Tensor:
        named = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
        return torch.from_numpy(self.session.run(["out"], named)[0])


class GuidedFile(Guided):
    """Guided, of a FromFile."""

    def __init__(self, model: FromFile, y, scale: float):
        torch.nn.Module.__init__(self)
        self.model, self.y, self.scale, self.band = model, torch.as_tensor(y), scale, None
        self.prediction = model.prediction


def compare(precisions=(), samples: int = 200, steps: int = 15, scale: float = 2.0, eta: float = 1.0) -> None:
    """Print size, gap to PyTorch and the course's scores of the file in each precision, from the same noise.

    The gap is the largest difference of a pixel of the range 2, over all samples, and the mean difference.
    """
    model, y, start = load_network(NETWORK), torch.arange(samples) % 10, noise(samples, 0)
    graph, schedule, rule = export(model), schedule_of_network(model), dpm_solver(steps, eta=eta)

    def draw(network, guided) -> Tensor:
        return last(reverse(guided(network, y, scale), schedule, rule, seed=1, clip_x0=1.0, x_T=start))

    right = draw(model, Guided)
    print("PyTorch", judge(right, "mnist"))
    for precision in precisions or PRECISIONS:
        content = shrink(graph, precision).SerializeToString()
        images = draw(FromFile(content), GuidedFile)
        gap, scores = (images - right).abs(), judge(images, "mnist")
        worst, typical = float(gap.max()), float(gap.flatten(1).max(1).values.median())
        print(
            f"{precision}: {len(content) / 1e6:.2f} MB, gap {worst:.2g} (median {typical:.2g}, "
            f"mean {gap.mean():.2g}), distance {scores['distance']}, confident {scores['confident']}"
        )


def film(path: Path) -> None:
    """Record eight digits being born: `frames` frames below each other, each with two rows of eight pictures.

    Upper row: what there is, x_t; lower row: what the network takes it for, its estimate of x_0, which
    before the first step is grey. The page moves through the frames.
    """
    f, model = FILM, load_network(NETWORK)
    y = torch.tensor(f["digits"])
    network, rule = Guided(model, y, f["scale"]), dpm_solver(f["steps"], eta=f["eta"])
    start = noise(len(y), f["seed"])
    walk = reverse(network, schedule_of_network(model), rule, seed=f["seed"] + 1, clip_x0=1.0, x_T=start)
    rows = []
    for state in show.evenly(list(walk), f["frames"]):
        guess = torch.zeros_like(state.x) if state.x0 is None else state.x0
        rows += [torch.cat(list(images[:, 0]), dim=1) for images in (state.x, guess)]
    grey = ((torch.cat(rows).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    Image.fromarray(grey.numpy()).save(path, "WEBP", quality=70, method=6)
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB, {len(rows) // 2} frames")


def main(task: str = "all") -> None:
    """Do one task: "film", "network", "compare", or "all" for the first two."""
    if task == "compare":
        return compare()
    if task in ("network", "all"):
        content = shrink(export(load_network(NETWORK)), SHIPPED).SerializeToString()
        (LIVE / "digits.onnx").write_bytes(content)
        print(f"digits.onnx: {len(content) / 1e6:.2f} MB, {SHIPPED} weights")
    if task in ("film", "all"):
        film(LIVE / "digits_film.webp")


if __name__ == "__main__":
    main(*sys.argv[1:2])
