"""Classifier-free guidance: against the formula written out, one call a step, and inside the one loop."""

import pytest
import torch
from torch import nn

from helpers.guidance import AtSameNoise, Autoguided, Guided
from helpers.models import PointMLP, UNet
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse
from helpers.schedule import cosine, linear

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = 3


def network(kind, prediction="eps"):
    """A network with labels, every weight awake."""
    torch.manual_seed(0)
    if kind == "points":
        model = PointMLP(16, 1, 2, 8, prediction=prediction, classes=CLASSES)
    else:
        model = UNet((8, 16), emb_dim=8, prediction=prediction, classes=CLASSES)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval().requires_grad_(False)


def batch(kind, n=4):
    g = torch.Generator().manual_seed(1)
    x = torch.randn((n, 2) if kind == "points" else (n, 1, 8, 8), generator=g)
    return x, torch.tensor([5, 300, 700, 1000])[:n]


def written_out(model, x, t, y, scale):
    """Two calls, one for each branch, and the line through them."""
    out_u = model(x, t, torch.full((len(x),), CLASSES))
    return out_u + scale * (model(x, t, torch.as_tensor(y).expand(len(x))) - out_u)


kinds = pytest.mark.parametrize("kind", ["points", "images"])


@kinds
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 2.0, 8])
def test_the_formula(kind, prediction, scale):
    model, (x, t) = network(kind, prediction), batch(kind)
    guided = Guided(model, 1, scale)
    assert guided.prediction == prediction
    assert torch.allclose(guided(x, t), written_out(model, x, t, 1, scale), atol=1e-4, rtol=1e-4)


@kinds
def test_scales_that_have_a_name(kind):
    """0: as without label, 1: as with it, and the label has a say at all."""
    model, (x, t) = network(kind), batch(kind)
    none, two = model(x, t), model(x, t, torch.full((4,), 2))
    assert torch.equal(none, model(x, t, torch.full((4,), CLASSES)))
    assert not torch.allclose(none, two, atol=1e-2)
    assert torch.allclose(Guided(model, 2, 0.0)(x, t), none, atol=1e-5)
    assert torch.allclose(Guided(model, 2, 1.0)(x, t), two, atol=1e-5)
    doubled = Guided(model, 2)(x, t)
    assert torch.allclose(doubled - two, two - none, atol=1e-4), "by default as far past the label again"


def test_one_call_for_both_branches():
    model, (x, t) = network("points"), batch("points")
    asked = []

    class Counted(torch.nn.Module):
        classes, prediction = CLASSES, "eps"

        def forward(self, x, t, y):
            asked.append((x, t, y))
            return model(x, t, y)

    Guided(Counted(), 2, 3.0)(x, t)
    [(x2, t2, y2)] = asked
    assert torch.equal(x2, torch.cat([x, x])) and torch.equal(t2, torch.cat([t, t]))
    assert y2.dtype == torch.int64 and sorted(y2.tolist()) == [2] * 4 + [CLASSES] * 4


@kinds
def test_a_label_for_each_example(kind):
    model, (x, t) = network(kind), batch(kind)
    y = torch.tensor([2, 0, CLASSES, 1])
    out = Guided(model, y, 2.5)(x, t)
    for i in range(4):
        alone = Guided(model, int(y[i]), 2.5)(x[i : i + 1], t[i : i + 1])
        assert torch.allclose(out[i : i + 1], alone, atol=1e-4, rtol=1e-4)
    assert torch.allclose(out[2], model(x, t)[2], atol=1e-5), "guided towards no label: as without"
    assert torch.equal(Guided(model, [2, 0, 3, 1], 2.5)(x, t), out), "a list will do"


def test_a_batch_of_another_size():
    with pytest.raises(RuntimeError):
        Guided(network("points"), torch.tensor([0, 1, 2]))(*batch("points"))


@kinds
def test_band(kind):
    """Inside, both ends included, the scale; outside 1, the label as it is. Each example by its level."""
    model, (x, t) = network(kind), batch(kind)
    found = Guided(model, 1, 4.0, band=(300, 700))(x, t)
    for i, scale in enumerate([1.0, 4.0, 4.0, 1.0]):
        expected = written_out(model, x, t, 1, scale)[i]
        assert torch.allclose(found[i], expected, atol=1e-4, rtol=1e-4), f"t = {int(t[i])}"
    assert torch.equal(Guided(model, 1, 4.0, band=(1, 1000))(x, t), Guided(model, 1, 4.0)(x, t))


@pytest.mark.parametrize("scale", [0.0, 2.0, 5.0])
def test_the_same_in_eps_x0_and_v(scale):
    """One network read three ways: guiding any of them and converting gives one eps and one x_0."""
    model, schedule, (x, t) = network("points"), cosine(), batch("points")
    x = x.double()

    class Read(torch.nn.Module):
        def __init__(self, prediction):
            super().__init__()
            self.prediction, self.classes = prediction, CLASSES

        def forward(self, x, t, y):
            eps = model(x.float(), t, y).double()
            x0 = schedule.predict_x0(x, t, eps)
            return schedule.target(x0, t, eps, self.prediction)

    found = {}
    for prediction in ("eps", "x0", "v"):
        guided = Guided(Read(prediction), 1, scale)
        found[prediction] = schedule.from_output(guided(x, t), x, t, prediction)
    for prediction in ("x0", "v"):
        for a, b in zip(found[prediction], found["eps"], strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-5), prediction


@kinds
@pytest.mark.parametrize(
    "rule", [ancestral(), ddim(6), ddim(6, eta=1.0), dpm_solver(6)], ids=lambda r: r.name
)
def test_inside_the_loop(kind, rule):
    """The loop sees a plain network: the same walk as with a function that has the formula written out."""
    model, schedule = network(kind, "v"), cosine(50)
    shape = batch(kind)[0].shape
    y = torch.tensor([0, 1, 2, 1])

    def plain(x, t):
        return written_out(model, x, t, y, 2.0)

    plain.prediction = "v"
    guided = last(reverse(Guided(model, y), schedule, rule, shape, seed=3, clip_x0=1.0))
    assert torch.allclose(guided, last(reverse(plain, schedule, rule, shape, seed=3, clip_x0=1.0)), atol=1e-3)
    other = last(reverse(Guided(model, y.flip(0)), schedule, rule, shape, seed=3, clip_x0=1.0))
    assert not torch.allclose(guided, other, atol=1e-2)


def test_in_the_precision_of_x():
    """Under bfloat16 the line through the branches is still drawn in float32."""
    model, (x, t) = network("images"), batch("images")
    with torch.autocast("cpu", torch.bfloat16):
        both = torch.full((4,), 1), torch.full((4,), CLASSES)
        out_c, out_u = (model(x, t, y).float() for y in both)
        found = Guided(model, 1, 8.0)(x, t)
    assert found.dtype == torch.float32
    assert float((found - (out_u + 8.0 * (out_c - out_u))).abs().max()) < 0.05 * float(found.abs().max())
    assert not torch.equal(found, found.bfloat16().float())


def test_gradients_pass_and_parameters_are_seen():
    model = network("points").requires_grad_(True)
    guided = Guided(model, 0, 2.0)
    assert [id(p) for p in guided.parameters()] == [id(p) for p in model.parameters()]
    guided(*batch("points")).sum().backward()
    rows = model.label.weight.grad.abs().sum(1)
    assert rows[0] > 0 and rows[CLASSES] > 0 and (rows[1:CLASSES] == 0).all()


# --- errors


@pytest.mark.parametrize("model", [PointMLP(8, 1, 2, 8), UNet((8, 8), emb_dim=8), torch.nn.Linear(2, 2)],
                         ids=lambda m: type(m).__name__)  # fmt: skip
def test_network_without_labels(model):
    with pytest.raises(ValueError, match="network with labels"):
        Guided(model, 1)


@pytest.mark.parametrize("y", [-1, CLASSES + 1, 1.0, torch.tensor([0, 7]), torch.tensor([0.0, 1.0])], ids=str)
def test_labels_it_does_not_know(y):
    with pytest.raises(ValueError, match=r"0 \.\. 2 \(3: no label\)"):
        Guided(network("points"), y)


def test_band_upside_down():
    with pytest.raises(ValueError, match=r"\(700, 300\)"):
        Guided(network("points"), 1, 2.0, band=(700, 300))
    Guided(network("points"), 1, 2.0, band=(300, 300))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_labels_follow_to_the_gpu():
    model, (x, t) = network("points"), batch("points")
    cpu = Guided(model, 1, 2.0, band=(1, 500))(x, t)
    gpu = Guided(model.cuda(), 1, 2.0, band=(1, 500))(x.cuda(), t.cuda())
    assert torch.allclose(cpu, gpu.cpu(), atol=1e-4)


# --- autoguidance


def two_networks(kind, prediction="eps"):
    torch.manual_seed(3)
    strong, weak = network(kind, prediction), network(kind, prediction)
    for p in weak.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return strong, weak


@kinds
def test_autoguidance_formula(kind):
    """Karras et al. 2024, eq. 3; scale 1 is the model alone, scale 0 the weak one; in the band only."""
    (strong, weak), (x, t) = two_networks(kind), batch(kind)
    s, w = strong(x, t), weak(x, t)
    for scale in (0.0, 1.0, 1.5, 3.0):
        assert torch.allclose(Autoguided(strong, weak, scale)(x, t), w + scale * (s - w), atol=1e-5)
    banded = Autoguided(strong, weak, 3.0, band=(300, 700))(x, t)
    full = Autoguided(strong, weak, 3.0)(x, t)
    for i, inside in enumerate((False, True, True, False)):
        assert torch.allclose(banded[i], (full if inside else s)[i], atol=1e-5)


def test_the_weak_network_is_not_asked_outside_the_band():
    strong, (x, _) = network("points"), batch("points")

    class Never(torch.nn.Module):
        prediction = "eps"

        def forward(self, x, t):
            raise AssertionError("asked")

    guided = Autoguided(strong, Never(), 2.0, band=(300, 700))
    t = torch.full((len(x),), 800)
    assert torch.equal(guided(x, t), strong(x, t))
    with pytest.raises(AssertionError, match="asked"):
        guided(x, torch.full((len(x),), 300))


def test_autoguidance_refuses():
    with pytest.raises(ValueError, match="must predict the same, got eps and v"):
        Autoguided(network("points"), network("points", "v"))
    with pytest.raises(TypeError, match="Linear does not say what it predicts"):
        Autoguided(network("points"), torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"\(700, 300\)"):
        Autoguided(network("points"), network("points"), band=(700, 300))


def test_autoguidance_inside_the_loop():
    strong, weak = two_networks("points", "v")
    walk = reverse(Autoguided(strong, weak, 1.0), cosine(50), ddim(6), (4, 2), seed=3)
    assert torch.allclose(last(walk), last(reverse(strong, cosine(50), ddim(6), (4, 2), seed=3)), atol=1e-4)


def test_the_weak_network_is_asked_at_the_same_noise():
    """A perfect eps network of the lab's schedule becomes a perfect v network of the cosine schedule."""
    own, schedule, x0 = linear(300), cosine(1000), torch.randn(3, 1, 4, 4)

    class Perfect(nn.Module):
        prediction = "eps"

        def forward(self, x, t):
            return own.predict_eps(x, t, x0)

    weak = AtSameNoise(Perfect(), own, schedule, "v")
    for t in (200, 500, 900):
        level = torch.full((3,), t)
        x_t = schedule.q_sample(x0, level, torch.randn(x0.shape))
        eps, guess = schedule.from_output(weak(x_t, level), x_t, level, "v")
        assert (own.exact(int(weak.levels[t])) - schedule.exact(t)).abs() < 0.006
        assert (guess - x0).abs().max() < 0.15
