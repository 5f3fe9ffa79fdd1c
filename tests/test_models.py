"""The networks: shapes, what each part promises, and that a configuration builds the same network anew."""

import math

import pytest
import torch
from torch import nn

from helpers.checkpoints import load_model, save_model
from helpers.classifiers import FEATURES, Classifier
from helpers.classifiers import load as load_classifier
from helpers.models import (
    FourierFeatures,
    PointMLP,
    ResBlock,
    SelfAttention,
    UNet,
    parameter_count,
    timestep_embedding,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def woken(module, std=0.1):
    """The zero-initialised layers filled, so that every part has an effect."""
    torch.manual_seed(0)
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module.eval()


def test_embedding_by_hand():
    emb = timestep_embedding(torch.tensor([0, 3, 1000]), 8)
    assert emb.shape == (3, 8) and emb.dtype == torch.float32
    for row, t in zip(emb.tolist(), (0, 3, 1000), strict=True):
        frequencies = [10_000 ** (-i / 4) for i in range(4)]
        expected = [math.sin(t * f) for f in frequencies] + [math.cos(t * f) for f in frequencies]
        assert row == pytest.approx(expected, abs=1e-4)


def test_embedding_tells_all_levels_apart():
    emb = timestep_embedding(torch.arange(1000), 64)
    distances = torch.cdist(emb, emb) + torch.eye(1000) * 9
    assert distances.min() > 0.1


def test_embedding_same_as_diffusers():
    embeddings = pytest.importorskip("diffusers.models.embeddings")
    t = torch.arange(0, 1000, 37)
    theirs = embeddings.get_timestep_embedding(t, 32, downscale_freq_shift=0)
    assert torch.allclose(timestep_embedding(t, 32), theirs, atol=1e-4)


def test_embedding_odd_size():
    with pytest.raises(ValueError, match="even"):
        timestep_embedding(torch.arange(3), 7)


def test_fourier_features():
    out = FourierFeatures(3)(torch.tensor([[0.5, -1.0]]))
    assert out.shape == (1, 2 * 3 * 2)
    angles = [x * k * math.pi / 2 for x in (0.5, -1.0) for k in (1, 2, 3)]
    assert out[0].tolist() == pytest.approx([f(a) for f in (math.sin, math.cos) for a in angles], abs=1e-6)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_point_mlp(prediction):
    model = PointMLP(width=16, depth=2, features=2, time_dim=8, prediction=prediction)
    assert model.prediction == prediction
    x, t = torch.randn(5, 2), torch.tensor([1, 2, 3, 500, 1000])
    out = model(x, t)
    assert out.shape == (5, 2) and out.dtype == torch.float32
    assert not torch.allclose(out, model(x, t.flip(0))), "the noise level has no effect"
    again = type(model)(**model.config)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x, t), out)


# --- labels


def network(kind, **options):
    torch.manual_seed(4)
    return PointMLP(16, 1, 2, 8, **options) if kind == "points" else UNet((8, 16), emb_dim=8, **options)


def example(kind, n=4):
    g = torch.Generator().manual_seed(0)
    return torch.randn((n, 2) if kind == "points" else (n, 1, 8, 8), generator=g), torch.arange(n) * 300


kinds = pytest.mark.parametrize("kind", ["points", "images"])


@kinds
def test_no_label_is_the_default(kind):
    """Left out, None and the class beyond the last are one; every other label has its own say."""
    model, (x, t) = woken(network(kind, classes=3), std=0.3), example(kind)
    none = model(x, t)
    assert model.classes == 3 and torch.equal(none, model(x, t, None))
    assert torch.equal(none, model(x, t, torch.full((4,), 3)))
    outs = [none, *(model(x, t, torch.full((4,), y)) for y in range(3))]
    assert all(not torch.allclose(a, b, atol=1e-3) for i, a in enumerate(outs) for b in outs[:i])
    mixed = model(x, t, torch.tensor([0, 1, 2, 3]))
    for i, out in enumerate([*outs[1:], none]):
        assert torch.allclose(mixed[i], out[i], atol=1e-5), "a label belongs to its example"
    with pytest.raises(IndexError):
        model(x, t, torch.full((4,), 4))


@kinds
def test_labels_start_without_effect(kind):
    """One seed: the network with labels begins as the one without, whatever the label, and can learn them."""
    plain, labelled = network(kind), network(kind, classes=10)
    shared = labelled.state_dict()
    assert (shared.pop("label.weight") == 0).all()
    assert shared.keys() == plain.state_dict().keys()
    assert all(torch.equal(v, shared[k]) for k, v in plain.state_dict().items())
    for model in (plain, labelled):  # a U-Net starts at 0 everywhere: awake all but the labels
        torch.manual_seed(1)
        for name, p in model.named_parameters():
            if name != "label.weight":
                nn.init.normal_(p, std=0.2)
    (x, t), y = example(kind), torch.tensor([0, 3, 9, 10])
    assert torch.equal(plain(x, t), labelled(x, t)) and torch.equal(plain(x, t), labelled(x, t, y))
    labelled(x, t, y).square().sum().backward()
    moved = labelled.label.weight.grad.abs().sum(1) > 0
    assert moved.nonzero().flatten().tolist() == y.tolist()


@kinds
def test_labels_for_a_network_without(kind):
    model, (x, t) = network(kind), example(kind)
    assert model.classes == 0 and not any("label" in name for name in model.state_dict())
    with pytest.raises(ValueError, match="takes no labels: build it with classes="):
        model(x, t, torch.zeros(4, dtype=torch.long))


def test_labels_without_time():
    model, (x, t) = woken(network("images", classes=3, time=False), std=0.3), example("images")
    y = torch.tensor([0, 1, 2, 3])
    assert torch.equal(model(x, t, y), model(x, t.flip(0), y))
    assert not torch.allclose(model(x, t, y), model(x, t, y.flip(0)), atol=1e-3)


@kinds
@pytest.mark.parametrize("classes", [0, 3])
def test_labels_through_a_file(tmp_path, kind, classes):
    model, (x, t) = woken(network(kind, classes=classes)), example(kind)
    save_model(tmp_path / "it.safetensors", model, {})
    again = load_model(str(tmp_path / "it.safetensors"), type(model))
    assert again.classes == classes
    y = torch.tensor([0, 1, 2, 3]) if classes else None
    assert torch.equal(model(x, t, y), again(x, t, y))


@kinds
def test_a_file_from_before_there_were_labels(tmp_path, kind):
    """The shipped networks of notebooks 02 to 04 have no "classes" in their configuration."""
    model, (x, t) = woken(network(kind)), example(kind)
    del model.config["classes"]
    save_model(tmp_path / "old.safetensors", model, {})
    old = load_model(str(tmp_path / "old.safetensors"), type(model))
    assert old.classes == 0 and torch.equal(model(x, t), old(x, t))


def test_another_activation_for_one_block():
    """Replaced on one block, as an experiment does, it serves there and nowhere else."""
    block, other = woken(ResBlock(8, 8, 4)), woken(ResBlock(8, 8, 4))
    x, emb = torch.randn(2, 8, 5, 5), torch.randn(2, 4)
    before = block(x, emb)
    assert torch.equal(before, other(x, emb))
    block.activation = torch.relu
    h = block.conv1(torch.relu(block.norm1(x))) + block.time(emb)[:, :, None, None]
    by_hand = block.skip(x) + block.conv2(torch.relu(block.norm2(h)))
    assert torch.allclose(block(x, emb), by_hand, atol=1e-6) and not torch.allclose(by_hand, before)
    assert torch.equal(other(x, emb), before)


def test_residual_block():
    block = ResBlock(8, 16, 4)
    x, emb = torch.randn(2, 8, 5, 5), torch.randn(2, 4)
    assert torch.equal(block(x, emb), block.skip(x)), "a new block is its skip connection"
    same = ResBlock(8, 8, 4)
    assert torch.equal(same(x, emb), x)
    block = woken(block)
    assert block(x, emb).shape == (2, 16, 5, 5)
    assert not torch.allclose(block(x, emb), block(x, emb + 1))


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_written_out(heads):
    block = woken(SelfAttention(16, heads), std=0.5)
    x = torch.randn(2, 16, 3, 4)
    q, k, v = block.split(x)
    assert q.shape == k.shape == v.shape == (2, heads, 12, 16 // heads)
    mixed = torch.zeros(2, heads, 12, 16 // heads)
    for i in range(12):  # one query pixel at a time
        scores = (q[:, :, i : i + 1] * k).sum(-1) / math.sqrt(16 // heads)
        share = scores.exp() / scores.exp().sum(-1, keepdim=True)
        mixed[:, :, i] = (share[..., None] * v).sum(2)
    image = mixed.permute(0, 1, 3, 2).reshape(2, 16, 3, 4)
    assert torch.allclose(block(x), x + block.out(image), atol=1e-4)


def test_attention_moves_with_the_pixels():
    """Attention does not know where a pixel is: shuffled in, shuffled out."""
    block, x = woken(SelfAttention(8, 2)), torch.randn(1, 8, 4, 4)
    order = torch.randperm(16)
    shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
    assert torch.allclose(block(shuffled), block(x).flatten(2)[:, :, order].reshape(x.shape), atol=1e-5)


def test_attention_heads():
    with pytest.raises(ValueError, match="divide by heads"):
        SelfAttention(10, 4)


@pytest.mark.parametrize("channels, size", [((8, 16), 8), ((8, 16, 24), 28), ((16,), 5)], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"attention": False}, {"skips": False}, {"time": False}, {"blocks": 2}], ids=str
)
def test_unet(channels, size, options):
    model = woken(UNet(channels, emb_dim=8, heads=2, **options))
    x, t = torch.randn(2, 1, size, size), torch.tensor([3, 900])
    with torch.no_grad():
        out = model(x, t)
        assert out.shape == x.shape and out.dtype == torch.float32
        assert torch.allclose(out, model(x, t.flip(0)), atol=1e-6) == (options.get("time") is False)
        again = UNet(**model.config).eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(x, t), out)
        assert torch.allclose(model(x[1:], t[1:]), out[1:], atol=1e-5), "an example depends on its batch"


def test_unet_starts_at_zero_and_every_weight_learns():
    model, x, t = UNet((8, 16), emb_dim=8), torch.randn(2, 1, 8, 8), torch.tensor([3, 900])
    assert (model(x, t) == 0).all()
    (woken(model)(x, t) - x).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_what_the_skips_of_the_unet_carry():
    """The last block at each resolution on the way down, and the lowest resolution in the middle."""
    model, shapes = UNet((8, 16, 24), emb_dim=8), []
    for block in (*model.down, model.middle):
        block[-1].register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    model(torch.randn(2, 1, 28, 28), torch.tensor([1, 2]))
    assert shapes == [(2, 8, 28, 28), (2, 16, 14, 14), (2, 24, 7, 7), (2, 24, 7, 7)]


def test_skips_carry_detail():
    model = woken(UNet((8, 16), emb_dim=8, skips=False))
    whole = parameter_count(UNet((8, 16), emb_dim=8))
    assert parameter_count(model) < whole


def test_parameter_count():
    model = nn.Linear(3, 2)
    assert parameter_count(model) == 8
    model.bias.requires_grad_(False)
    assert parameter_count(model) == 6


@pytest.mark.parametrize("size", [8, 28])
def test_classifier(size):
    model = Classifier(size, 8).eval()
    x = torch.randn(3, 1, size, size)
    assert model.features(x).shape == (3, FEATURES) and model(x).shape == (3, 10)
    assert torch.equal(model(x), model.head(model.features(x)))
    assert Classifier(**model.config).load_state_dict(model.state_dict())


@pytest.mark.parametrize("kind, name", [("judges", "digits"), ("judge", "letters")])
def test_no_such_classifier(kind, name):
    with pytest.raises(ValueError, match=f'"features" or "judge".*{kind}.*{name}'):
        load_classifier(kind, name)


def test_classifiers_by_data(monkeypatch):
    """The size chooses digits or mnist, data= any other; the shipped networks stay as they are."""
    from helpers import classifiers

    asked, real = [], classifiers.load

    def load(kind, data, device):
        asked.append((kind, data, device))
        return real(kind, data, device)

    monkeypatch.setattr(classifiers, "load", load)
    small, large = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 28, 28)
    assert classifiers.features(small).shape == (3, FEATURES)
    p = classifiers.probabilities(large)
    assert torch.allclose(p.sum(1), torch.ones(3), atol=1e-5)
    assert not torch.allclose(p, classifiers.probabilities(large, "fashion"), atol=1e-3)
    assert not torch.allclose(classifiers.features(large), classifiers.features(large, "fashion"), atol=1e-3)
    assert [a[:2] for a in asked] == [
        ("features", "digits"), ("judge", "mnist"), ("judge", "fashion"), ("features", "mnist"),
        ("features", "fashion"),
    ]  # fmt: skip
    assert not any(p.requires_grad for p in real("judge", "mnist", "cpu").parameters())
