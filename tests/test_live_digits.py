"""The digits of the web page: the network as ONNX, JavaScript against PyTorch, and the demo itself."""

import re
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import browser
from builder.npm import fetch_runtime
from data.experiments import live_digits, live_noise
from data.experiments.mnist import load_network, schedule_of_network
from helpers import sampling
from helpers.classifiers import probabilities
from helpers.guidance import Guided

ROOT = Path(__file__).resolve().parents[1]
LIVE = live_digits.LIVE
SCRIPTS = ["sampling.js", "controls.js", "digits_draw.js", "digits_net.js", "digits.js"]
RANGE = 2.0  # of a pixel, -1 to 1
CLOSE = 0.01 * RANGE
PIXELS = 28 * 28
RULES = {
    "fresh": lambda steps: sampling.dpm_solver(steps, eta=1.0),
    "dpm": sampling.dpm_solver,
    "ddim": sampling.ddim,
}
SAID = ".digits-said[role=status]:not(:empty)"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Digits</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
STYLES</head><body><main><div class="live" data-live="digits"></div></main>SCRIPTS</body></html>"""


def write_page(folder: Path) -> Path:
    """A page with the demo alone, beside copies of its files as the site has them; returns its path."""
    (folder / "live").mkdir(parents=True)
    files = [*SCRIPTS, "digits_worker.js", "digits.onnx", "digits_film.webp", "live.css", "digits.css"]
    for name in files:
        (folder / "live" / name).write_bytes((LIVE / name).read_bytes())
    styles = "".join(f'<link rel="stylesheet" href="live/{name}">' for name in files if name.endswith("css"))
    scripts = "".join(f'<script src="live/{name}"></script>' for name in SCRIPTS)
    path = folder / "index.html"
    path.write_text(PAGE.replace("STYLES", styles).replace("SCRIPTS", scripts), encoding="utf-8")
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page on a web server of its own, with onnxruntime-web."""
    runtime = ROOT / "out" / "assets" / "ort"
    if reason := fetch_runtime(runtime):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    write_page(folder)
    (folder / "ort").mkdir()
    for path in runtime.iterdir():
        (folder / "ort" / path.name).write_bytes(path.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="class")
def network(address, tmp_path_factory):
    """A page in which `network` is Live.digits.open(..), and no demo is started."""
    with browser.page(tmp_path_factory.mktemp("profile")) as page:
        page.goto(address)
        page.evaluate(
            """async () => { const at = (path) => new URL(path, location.href).href;
            window.network = await Live.digits.open({ folder: at("live/"), runtime: at("ort/") });
            window.walk = async (seed, rule, labels, scale, x = null) => {
                const draw = Live.generator(seed), start = draw(labels.length * 784);
                const { schedule } = Live.digits, model = network.guided(labels, scale);
                const given = { model, schedule, rule, draw, clip: 1, x: x ? x(start) : start };
                let last;
                for await (last of Live.reverse(given));
                return Array.from(last.x); } }"""
        )
        yield page
        assert page.errors == []


@pytest.fixture
def same_noise(monkeypatch):
    """Make helpers.sampling draw from the page's generator of one seed; returns its first numbers."""

    def begin(seed: int, *shape: int) -> torch.Tensor:
        draw = live_noise.generator(seed)
        start = draw(int(np.prod(shape))).reshape(shape)

        def randn(size, generator=None):
            return draw(int(np.prod(size))).reshape(size)

        monkeypatch.setattr(sampling.torch, "randn", randn)
        return start

    return begin


def walk(rule, labels, scale, start):
    """The samples (B, 1, 28, 28) of helpers.sampling, guided, clipped, from the noise `start`."""
    model = load_network("mnist_classes")
    guided = Guided(model, torch.tensor(labels), scale)
    return sampling.last(sampling.reverse(guided, schedule_of_network(model), rule, x_T=start, clip_x0=1.0))


def gap(images: torch.Tensor, values) -> float:
    """The largest difference of a pixel from the page's flat list."""
    return float((images.flatten() - torch.tensor(values)).abs().max())


# The files ------------------------------------------------------------------------------------------------


def test_files_keep_their_sizes():
    for path in LIVE.glob("digits*.js"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path.name
    assert (LIVE / "digits.onnx").stat().st_size <= 6e6
    assert (LIVE / "digits_film.webp").stat().st_size <= 200e3


def test_the_bar_knows_the_size_of_the_network():
    text = (LIVE / "digits_worker.js").read_text(encoding="utf-8")
    size = float(re.search(r"onnx: ([\d.e]+)", text)[1])
    assert size == pytest.approx((LIVE / "digits.onnx").stat().st_size, rel=0.01)


def test_the_film_shows_the_digits_it_names():
    film = live_digits.FILM
    text = (LIVE / "digits_draw.js").read_text(encoding="utf-8")
    assert f"frames: {film['frames']}, digits: {film['digits']}" in text
    with Image.open(LIVE / "digits_film.webp") as picture:
        pixels = torch.from_numpy(np.array(picture.convert("L"))) / 127.5 - 1
    assert pixels.shape == (film["frames"] * 56, 8 * 28)
    for row in pixels[-56:].reshape(2, 28, 8, 28).transpose(1, 2):
        assert probabilities(row[:, None].contiguous()).argmax(1).tolist() == film["digits"]
    assert float(pixels[:28].std()) > 0.6, "the film does not begin with noise"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_file_says_what_pytorch_says(batch):
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime compares digits.onnx with PyTorch")
    network, model = live_digits.FromFile((LIVE / "digits.onnx").read_bytes()), load_network("mnist_classes")
    g = torch.Generator().manual_seed(batch)
    x, t = torch.randn(batch, 1, 28, 28, generator=g), torch.randint(1, 1001, (batch,), generator=g)
    y = torch.arange(batch) * 2 + 2  # 10, no label, among them
    assert float((network(x, t, y) - model(x, t, y)).abs().max()) < 1e-3


def test_the_file_draws_what_pytorch_draws():
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime compares digits.onnx with PyTorch")
    network, model = live_digits.FromFile((LIVE / "digits.onnx").read_bytes()), load_network("mnist_classes")
    start, y = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(10)
    rule, schedule = sampling.dpm_solver(15, eta=1.0), schedule_of_network(model)
    given = dict(schedule=schedule, rule=rule, seed=1, clip_x0=1.0, x_T=start)
    drawn = [
        sampling.last(sampling.reverse(guided, **given))
        for guided in (Guided(model, y, 2.0), live_digits.GuidedFile(network, y, 2.0))
    ]
    assert float((drawn[0] - drawn[1]).abs().max()) < CLOSE


def test_the_file_is_what_the_code_exports():
    pytest.importorskip(
        "onnxscript", reason="pip install onnx onnxscript onnxruntime exports the network anew"
    )
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime compares the two files")
    graph = live_digits.shrink(live_digits.export(load_network("mnist_classes")), live_digits.SHIPPED)
    x, t, y = torch.randn(2, 1, 28, 28), torch.tensor([1, 900]), torch.tensor([3, 10])
    files = graph.SerializeToString(), (LIVE / "digits.onnx").read_bytes()
    fresh, shipped = (live_digits.FromFile(content)(x, t, y) for content in files)
    assert torch.allclose(fresh, shipped, atol=1e-6)


def test_shrunk_weights_are_refused_in_an_unknown_form():
    with pytest.raises(ValueError, match="precision is one of"):
        live_digits.shrink(None, "int4")


# JavaScript against Python ---------------------------------------------------------------------------------


class TestSameAsPython:
    """One browser for all of these; its runtime is started once."""

    @browser.needs_browser
    def test_the_runtime_of_the_page_says_what_pytorch_says(self, network):
        x, y = live_noise.draw(3, 3 * PIXELS).reshape(3, 1, 28, 28), torch.tensor([0, 9, 10])
        got = network.evaluate(
            "async () => Array.from(await network.ask(Live.generator(3)(3 * 784), 500, [0, 9, 10]))"
        )
        assert gap(load_network("mnist_classes")(x, torch.full((3,), 500), y), got) < 1e-3

    @browser.needs_browser
    @pytest.mark.parametrize("scale, labels", [(2.0, [3, 8]), (1.0, [5, 0]), (0.0, [5, 0]), (2.0, [10, 10])])
    def test_guidance_is_that_of_the_course(self, network, scale, labels):
        x = live_noise.draw(4, 2 * PIXELS).reshape(2, 1, 28, 28)
        want = Guided(load_network("mnist_classes"), torch.tensor(labels), scale)(x, torch.full((2,), 700))
        got = network.evaluate(
            f"""async () => {{ const model = network.guided({labels}, {scale});
            return Array.from(await model(Live.generator(4)(2 * 784), 700)); }}"""
        )
        assert gap(want, got) < 1e-3 * max(1, scale)

    @browser.needs_browser
    @pytest.mark.parametrize("name", RULES)
    def test_the_same_noise_gives_the_same_digits(self, network, same_noise, name):
        got = network.evaluate(f"() => walk(7, Live.digits.samplers.{name}(15), [3, 8, 5], 2)")
        want = walk(RULES[name](15), [3, 8, 5], 2.0, same_noise(7, 3, 1, 28, 28))
        assert gap(want, got) < CLOSE
        assert probabilities(want).argmax(1).tolist() == [3, 8, 5]

    @browser.needs_browser
    def test_every_sampler_on_offer_is_compared(self, network):
        assert set(network.evaluate("() => Object.keys(Live.digits.samplers)")) == set(RULES)
        text = (LIVE / "digits.js").read_text(encoding="utf-8")
        offered = re.search(r"const SAMPLERS = \{(.*?)\};", text, re.DOTALL)[1]
        assert set(re.findall(r"(\w+): \"", offered)) == set(RULES)

    @browser.needs_browser
    def test_a_drawing_is_redrawn_as_python_redraws_it(self, network, same_noise):
        picture = torch.full((1, 1, 28, 28), -1.0)
        picture[0, 0, 8, 9:19], picture[0, 0, 8:22, 15] = 1.0, 1.0
        got = network.evaluate(
            """(picture) => walk(11, Live.digits.startAt(Live.digits.samplers.dpm(10), 600), [7], 2,
                (noise) => Live.noised(Live.digits.schedule, picture, 600, noise))""",
            picture.flatten().tolist(),
        )
        rule, start = sampling.dpm_solver(10), same_noise(11, 1, 1, 28, 28)
        start = schedule_of_network(load_network("mnist_classes")).q_sample(picture, 600, start)
        want = walk(replace(rule, levels=lambda T: rule.levels(600)), [7], 2.0, start)
        assert gap(want, got) < CLOSE

    @browser.needs_browser
    @pytest.mark.parametrize("name", RULES)
    @pytest.mark.parametrize("repeats", [1, 3])
    def test_filling_in_keeps_what_is_known(self, network, name, repeats):
        got = network.evaluate(
            f"""async () => {{
                const whole = await walk(5, Live.digits.samplers.fresh(15), [4], 2);
                const known = whole.map((_, i) => i < 392 ? 1 : 0);
                const rule = Live.digits.fillIn(Live.digits.samplers.{name}(12), whole, known, {repeats});
                return [whole, await walk(6, rule, [4], 2)]; }}"""
        )
        whole, filled = (torch.tensor(values).reshape(1, 1, 28, 28) for values in got)
        assert torch.equal(filled[:, :, :14], whole[:, :, :14])
        assert float((filled - whole)[:, :, 14:].abs().max()) > 0.1, "nothing was drawn anew"
        assert bool(filled.isfinite().all()) and float(filled.abs().max()) < 1.5
        assert int(probabilities(filled).argmax()) == 4


# The page -------------------------------------------------------------------------------------------------


def listen(page) -> list[str]:
    """The addresses that the page asks for from now on."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


def wait_for_digit(page, words="Asked") -> str:
    page.wait_for_selector(SAID, timeout=60_000)
    said = page.text_content(SAID)
    assert words in said
    return said


def pixels_of(page, canvas: str) -> list[int]:
    """The red of each pixel of a canvas."""
    return page.evaluate(
        """(name) => { const { width, height } = document.querySelector(name);
        const image = document.querySelector(name).getContext("2d").getImageData(0, 0, width, height);
        return Array.from(image.data).filter((_, i) => i % 4 === 0); }""",
        canvas,
    )


def assert_fits(page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@browser.needs_browser
def test_from_a_file_the_film_plays_and_says_what_to_do(tmp_path):
    with browser.page(tmp_path / "profile") as page:
        asked = listen(page)
        page.goto(write_page(tmp_path / "site").as_uri())
        page.wait_for_function("() => document.querySelector('.digits-film canvas')")
        assert "make open" in page.inner_text(".digits")
        assert page.get_by_role("button", name="Start").count() == 0
        page.get_by_role("button", name="Pause").press("Enter")
        slider = page.get_by_label("From noise to digits")
        slider.press("Home")
        page.wait_for_function(
            "() => document.querySelector('.digits output').textContent === 'step 0 of 50'"
        )
        assert (slider.get_attribute("max"), slider.input_value()) == ("25", "0")
        slider.press("ArrowRight")
        assert slider.input_value() == "1"
        assert all(url.startswith(("file:", "data:")) for url in asked)
        assert page.errors == []


@browser.needs_browser
def test_who_asks_for_rest_sees_no_motion(tmp_path):
    with browser.page(tmp_path / "profile") as page:
        page.emulate_media(reduced_motion="reduce")
        page.goto(write_page(tmp_path / "site").as_uri())
        page.get_by_role("button", name="Play").wait_for()
        slider = page.get_by_label("From noise to digits")
        page.wait_for_timeout(600)
        assert slider.input_value() == "25"


@browser.needs_browser
def test_without_the_runtime_the_page_says_what_is_missing(tmp_path):
    write_page(tmp_path / "site")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with browser.page(tmp_path / "profile") as page:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_timeout(300)
        assert page.errors == [], "a page that nobody has started asks for nothing"
        page.get_by_role("button", name="Start").click()
        page.get_by_text("Node.js").wait_for()
        assert page.get_by_role("button", name="Start").is_enabled()
        assert page.locator(".digits-film canvas").is_visible()
    server.shutdown()
    server.server_close()


@browser.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_draws_by_keyboard_alone(address, tmp_path, width):
    with browser.page(tmp_path / "profile", width, 844) as page:
        asked = listen(page)
        page.goto(address)
        assert not any(url.endswith((".wasm", ".onnx")) for url in asked), "nothing large before a click"
        assert_fits(page, width)
        page.get_by_role("button", name="Start").press("Enter")
        wait_for_digit(page)
        first = pixels_of(page, ".digits-stage > .digits-figure canvas")
        assert max(first) > 200 and sum(first) / len(first) < 128, "no white digit on black"

        page.get_by_label("3", exact=True).press("ArrowRight")
        assert page.get_by_label("4", exact=True).is_checked()
        page.wait_for_function("() => !document.querySelector('.digits-said[role=status]').textContent")
        wait_for_digit(page)
        assert pixels_of(page, ".digits-stage > .digits-figure canvas") != first

        page.get_by_label("One digit").press("ArrowRight")
        wait_for_digit(page)
        assert_fits(page, width)

        page.get_by_label("Eight at once").press("ArrowRight")
        pad = page.locator(".digits-pad")
        before = pixels_of(page, ".digits-pad")
        for key in [" ", *["ArrowUp"] * 4, *["ArrowLeft"] * 4, " "]:
            pad.press(key)
        page.get_by_role("button", name="Redraw it").press("Enter")
        assert pixels_of(page, ".digits-pad") != before
        wait_for_digit(page, "Asked 15 times")
        fill = page.get_by_role("button", name="Fill the gap")
        assert fill.is_disabled()
        page.get_by_role("button", name="Rub out").press("Enter")
        page.locator("button:has-text('Fill the gap'):enabled").press("Enter")
        page.get_by_text("Asked 45 times").wait_for(timeout=60_000)
        page.locator("summary").press("Enter")
        assert_fits(page, width)
        assert all(url.startswith((address, "data:", "blob:")) for url in asked)
        assert page.errors == []


@browser.needs_browser
def test_the_same_seed_gives_the_same_digit_again(address, tmp_path):
    shown = ".digits-stage > .digits-figure canvas"
    with browser.page(tmp_path / "profile") as page:
        page.goto(address)
        page.get_by_role("button", name="Start").click()
        wait_for_digit(page)
        first = pixels_of(page, shown)
        page.get_by_role("button", name="Draw another").click()
        wait_for_digit(page)
        assert pixels_of(page, shown) != first
        page.locator("summary").click()
        page.get_by_role("textbox", name="Seed").fill("1")
        page.wait_for_function("() => !document.querySelector('.digits-said[role=status]').textContent")
        wait_for_digit(page)
        assert pixels_of(page, shown) == first


@browser.needs_browser
def test_a_finger_draws_and_rubs_out(tmp_path, address):
    with browser.page(tmp_path / "profile", 390, 844) as page:
        page.goto(address)
        page.get_by_role("button", name="Start").click()
        wait_for_digit(page)
        page.get_by_label("Your own").press("Space")
        page.get_by_role("button", name="Clear").click()
        assert max(pixels_of(page, ".digits-pad")) == 0
        pad = page.locator(".digits-pad")
        finger = page.context.new_cdp_session(page)
        finger.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

        def drag(*path):
            pad.scroll_into_view_if_needed()
            box = pad.bounding_box()
            places = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in path]
            for kind, at in zip(["touchStart", *["touchMove"] * (len(path) - 1)], places, strict=True):
                finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
            finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        drag((0.3, 0.3), (0.7, 0.3), (0.5, 0.8))
        drawn = pixels_of(page, ".digits-pad")
        assert 20 < sum(value > 128 for value in drawn) < 200
        page.get_by_label("Rubber").press("Space")
        drag((0.4, 0.6), (0.7, 0.6))
        assert pixels_of(page, ".digits-pad").count(213) > 20, "nothing was rubbed out"
        page.locator("button:has-text('Fill the gap'):enabled").wait_for()
        assert page.errors == []
