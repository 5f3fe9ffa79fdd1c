"""The live points: the scripts agree with helpers/ number by number; in a browser they do what they say."""

import dataclasses
import json
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from browser import missing, needs_browser, page
from data.experiments import live_noise, live_points
from helpers import data, metrics, sampling
from helpers.models import PointMLP
from helpers.sampling import ancestral, ddim, dpm_solver, last, reverse, spaced
from helpers.schedule import cosine, linear
from helpers.training import denoising_loss

ROOT = Path(__file__).resolve().parents[1]
LIVE = ROOT / "notebooks" / "live"
NUMBERS = ["sampling", "controls", "points_model", "points_weights", "points_train", "points_view"]
SCRIPTS = [*NUMBERS, "points_panel", "points_stage", "points", "mistakes"]
SCHEDULES = {"cosine": cosine, "linear": linear}
ENGINE = pytest.mark.skipif(
    bool(missing()) and not shutil.which("node"),
    reason=f"no node on PATH to run the scripts, and {missing()}",
)
HEAD = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
)


@pytest.fixture
def run_js(tmp_path):
    """run_js(body): what an async function of this body returns, by node or in a browser."""

    def run(body: str):
        if node := shutil.which("node"):
            scripts = "".join((LIVE / f"{name}.js").read_text(encoding="utf-8") for name in NUMBERS)
            file = tmp_path / "script.js"
            file.write_text(f"{scripts};(async () => {{{body}}})().then(v => console.log(JSON.stringify(v)))")
            done = subprocess.run([node, str(file)], capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr[-2000:]
            return json.loads(done.stdout)
        with page(tmp_path / "profile") as opened:
            opened.goto(write_page(tmp_path, "", NUMBERS).as_uri())
            return json.loads(
                opened.evaluate(f"(async () => JSON.stringify(await (async () => {{{body}}})()))()")
            )

    return run


def write_page(folder, body: str, scripts=SCRIPTS):
    """A page with these scripts, opened as a file: what a reader's site does, without the site."""
    sources = "".join(f"<script src='{(LIVE / name).as_uri()}.js'></script>" for name in scripts)
    style = f"<link rel='stylesheet' href='{(LIVE / 'live.css').as_uri()}'>"
    file = folder / "page.html"
    file.write_text(f"{HEAD}<title>live</title>{style}<main>{body}</main>{sources}</html>")
    return file


def to_js(points: torch.Tensor) -> str:
    """Points (n, 2) as the flat array of the scripts, every float32 exactly."""
    return f"Float32Array.from({json.dumps(points.double().flatten().tolist())})"


def exact_model(points, schedule):
    """helpers' side of Live.exactDenoiser: the softmax average of points (n, 2), in double precision."""

    def model(x, t):
        a = schedule.exact(t)[:, None]
        away = (x.double()[:, None] - a.sqrt()[:, None] * points.double()).square().sum(-1)
        return torch.softmax(-away / (2 * (1 - a)), 1) @ points.double()

    model.prediction = "x0"
    return model


def walk(monkeypatch, model, schedule, rule, n, clip=None):
    """The last points of helpers' reverse(), with the noise of the scripts."""
    draw = live_noise.generator(6)
    with monkeypatch.context() as patch:
        patch.setattr(sampling.torch, "randn", lambda shape, generator: draw(shape.numel()).view(shape))
        return last(reverse(model, schedule, rule, x_T=live_noise.draw(5, 2 * n).view(n, 2), clip_x0=clip))


def walk_js(run_js, model: str, schedule: str, T: int, rule: str, n: int, clip="null") -> torch.Tensor:
    return torch.tensor(
        run_js(f"""
        const schedule = Live.schedule("{schedule}", {T}), model = {model}, rule = Live.rules.{rule};
        const x = Live.generator(5)({2 * n}), draw = Live.generator(6);
        let state;
        for await (state of Live.reverse({{ model, schedule, rule, x, draw, clip: {clip} }}));
        return [...state.x];""")
    ).view(n, 2)


# ---- Numbers -----------------------------------------------------------------------------------------------


def test_each_script_is_small_enough_to_read():
    assert all((LIVE / f"{name}.js").exists() for name in SCRIPTS)
    for name in SCRIPTS:
        lines = (LIVE / f"{name}.js").read_text(encoding="utf-8").splitlines()
        assert len(lines) < 300, f"{name}.js has {len(lines)} lines"


@ENGINE
@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_the_noise_is_the_same_in_both_languages(run_js, seed):
    draw = live_noise.generator(seed)
    here = torch.cat([draw(5), draw(0), draw(1), draw(20_000)])
    there = run_js(f"const d = Live.generator({seed}); return [...d(5), ...d(0), ...d(1), ...d(20000)];")
    assert (here - torch.tensor(there)).abs().max() < 1e-6
    assert torch.equal(live_noise.draw(seed, 5), here[:5])
    assert abs(float(here.mean())) < 0.03 and abs(float(here.std()) - 1) < 0.03


@ENGINE
@pytest.mark.parametrize("T", [1000, 100])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedules_are_those_of_the_course(run_js, name, T):
    there = run_js(f'const s = Live.schedule("{name}", {T}); return [[...s.betas], [...s.alphaBar]];')
    here = SCHEDULES[name](T)
    assert torch.allclose(torch.tensor(there[0]), here.betas, atol=1e-9, rtol=1e-6)
    exact = here.exact(torch.arange(T + 1))
    assert torch.allclose(torch.tensor(there[1], dtype=torch.float64), exact, atol=1e-14, rtol=1e-9)


@ENGINE
def test_what_is_refused(run_js):
    tries = [
        'Live.schedule("linear", 20)',
        'Live.schedule("other", 100)',
        "Live.spaced(0)(100)",
        "Live.spaced(101)(100)",
    ]
    tries += ['Live.toEpsX0(Live.schedule("cosine", 10), [0], [0], 5, "noise")']
    lines = [f"try {{ {one}; said.push(null) }} catch (e) {{ said.push(e.name) }}" for one in tries]
    assert run_js(f"const said = []; {' '.join(lines)} return said;") == ["RangeError"] * len(tries)


@ENGINE
@pytest.mark.parametrize("steps", [1, 3, 16, 40, 64, 80, 160, 999, 1000])
def test_the_levels_are_those_of_the_course(run_js, steps):
    assert run_js(f"return Live.spaced({steps})(1000);") == spaced(steps)(1000)


@ENGINE
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("clip", [None, 0.4])
def test_what_an_output_means(run_js, prediction, clip):
    x, output = live_noise.draw(1, 20).view(10, 2), live_noise.draw(2, 20).view(10, 2)
    schedule = cosine(100)
    eps, x0 = schedule.from_output(output, x, 60, prediction)
    if clip:
        x0 = x0.clamp(-clip, clip)
        eps = schedule.predict_eps(x, 60, x0)
    given = f'{to_js(output)}, {to_js(x)}, 60, "{prediction}", {json.dumps(clip)}'
    there = run_js(f"""
        const {{ eps, x0 }} = Live.toEpsX0(Live.schedule("cosine", 100), {given});
        return [[...eps], [...x0]];""")
    for mine, theirs in zip((eps, x0), there, strict=True):
        assert (mine.flatten() - torch.tensor(theirs)).abs().max() < 1e-5


def naive(steps):
    """Live.rules.naive in Python."""
    return dataclasses.replace(ancestral(), levels=spaced(steps))


RULES = {
    "ancestral()": ancestral(),
    'ancestral("beta")': ancestral("beta"),
    "naive(20)": naive(20),
    "ddim(1)": ddim(1),
    "ddim(40)": ddim(40),
    "ddim(50, 1)": ddim(50, 1.0),
    "ddim(7, 0.5)": ddim(7, 0.5),
    "ddim(1000)": ddim(1000),
    "dpmSolver(20)": dpm_solver(20),
    "dpmSolver(20, 1)": dpm_solver(20, 1.0),
    "dpmSolver(7, 0.3)": dpm_solver(7, 0.3),
}


@ENGINE
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rule", RULES)
def test_the_same_noise_gives_the_same_points(run_js, monkeypatch, schedule, rule):
    points, levels, n = data.moons(60, seed=0)[0], SCHEDULES[schedule](1000), 40
    here = walk(monkeypatch, exact_model(points, levels), levels, RULES[rule], n)
    there = walk_js(run_js, f"Live.exactDenoiser({to_js(points)}, schedule)", schedule, 1000, rule, n)
    assert (here - there).abs().max() < 1e-4
    assert here.std() > 0.2 or rule == "ddim(1)"  # one leap ends at the mean


@ENGINE
@pytest.mark.parametrize("name", ["moons", "checkerboard"])
def test_the_shipped_network_walks_as_in_pytorch(run_js, monkeypatch, name):
    model, n = live_points.read()[name], 30
    here = walk(monkeypatch, model, cosine(1000), dpm_solver(20), n, clip=1.1)
    there = walk_js(run_js, f'Live.learnedDenoiser("{name}")', "cosine", 1000, "dpmSolver(20)", n, clip="1.1")
    assert (here - there).abs().max() < 1e-3  # the network's own rounding is in it, 20 times


@ENGINE
def test_a_network_works_on_another_schedule(run_js):
    """At the level with the same share of noise it gives the same answer."""
    stage = json.dumps((LIVE / "points_stage.js").read_text(encoding="utf-8"))
    asked = run_js(f"""(0, eval)({stage});
        const from = Live.schedule("cosine", 1000), to = Live.schedule("linear", 1000), asked = [];
        const model = Object.assign((x, t) => asked.push(t), {{ prediction: "eps" }});
        const moved = Live.onSchedule(model, from, to);
        for (const t of [1, 50, 400, 800, 1000]) moved([], t);
        return asked;""")
    noise = [float(linear(1000).exact(t)) for t in (1, 50, 400, 800, 1000)]
    for t, share in zip(asked, noise, strict=True):
        low, high = int(t), min(int(t) + 1, 1000)
        assert float(cosine(1000).exact(high)) - 1e-4 <= share <= float(cosine(1000).exact(low)) + 1e-4
    assert asked == sorted(asked) and 1 <= asked[0] and asked[-1] <= 1000


# ---- Networks ----------------------------------------------------------------------------------------------


@ENGINE
@pytest.mark.parametrize("name", ["moons", "checkerboard"])
def test_the_weights_decode_to_the_pytorch_network(run_js, name):
    x = live_noise.draw(3, 201 * 2).view(201, 2)  # odd: the last one is alone in its pair
    model = live_points.read()[name]
    assert model.config["width"] == live_points.CONFIG["width"]
    for t in (1, 20, 300, 999):
        with torch.no_grad():
            here = model(x, torch.full((len(x),), t))
        there = torch.tensor(run_js(f'return [...Live.learnedDenoiser("{name}")({to_js(x)}, {t})];')).view(
            -1, 2
        )
        assert (here - there).abs().max() < 1e-3


def test_the_shipped_networks_draw_their_data():
    """Measured anew on fewer samples than the file tells; 250 kB is what a page can carry for each."""
    found = {name: live_points.measure(name, model, n=1500) for name, model in live_points.read().items()}
    assert found["moons"]["distance"] < 0.04 and found["checkerboard"]["distance"] < 0.04
    assert found["checkerboard"]["inside"] > 0.85
    assert live_points.FILE.stat().st_size < 250_000


def test_weights_written_and_read_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(live_points, "measure", lambda name, model: {})
    torch.manual_seed(0)
    model = PointMLP(**live_points.CONFIG).half().float()
    live_points.write({"moons": model}, dict(steps=1), tmp_path / "weights.js")
    again = live_points.read(tmp_path / "weights.js")["moons"].state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_a_short_training_ends_in_half_precision():
    model = live_points.fit("moons", dict(live_points.RECIPE, points=100, steps=2, batch_size=8))
    assert all(torch.equal(value, value.half().float()) for value in model.state_dict().values())


@ENGINE
def test_the_gradients_by_hand_are_those_of_autograd(run_js):
    config = dict(width=8, depth=2, features=3, time_dim=6, prediction="v")
    torch.manual_seed(1)
    model, schedule = PointMLP(**config), cosine(100)
    x0, noise, t = (
        data.moons(4, seed=0)[0],
        live_noise.draw(1, 8).view(4, 2),
        torch.tensor([1, 20, 60, 100]),
    )
    loss = denoising_loss(model, schedule, x0, t, noise).mean()
    loss.backward()
    flat = torch.cat([p.detach().flatten() for p in model.state_dict().values()])
    grads = torch.cat([p.grad.flatten() for _, p in model.named_parameters()])
    there = run_js(f"""const config = {json.dumps(config)};
        const a = Live.pointLayers(config), g = Live.pointLayers(config);
        a.numbers.set({flat.double().tolist()});
        const x = {to_js(schedule.q_sample(x0, t, noise))}, t = {t.tolist()};
        const v = {to_js(schedule.target(x0, t, noise, "v"))};
        const loss = Live.pointLoss(config, a.layers, g.layers, x, t, v);
        return [loss, [...g.numbers]];""")
    assert abs(there[0] - loss.item()) < 1e-5
    assert (torch.tensor(there[1]) - grads).abs().max() < 1e-4 * grads.abs().max()


@ENGINE
@pytest.mark.slow
def test_training_in_the_page_learns(run_js):
    first, end, points = run_js("""
        const schedule = Live.schedule("cosine", 1000), points = Live.dataSets.moons(500, Live.generator(1));
        const trainer = Live.trainer(points, schedule, { seed: 2, steps: 300 });
        while (trainer.done < 300) trainer.step();
        const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
        let state;
        const x = Live.generator(5)(1000), draw = Live.generator(6), rule = Live.rules.ddim(25);
        for await (state of Live.reverse({ model: trainer.model, schedule, rule, clip: 1.1, x, draw }));
        return [mean(trainer.losses.slice(0, 10)), mean(trainer.losses.slice(-50)), [...state.x]];""")
    assert end < 0.8 * first
    drawn = torch.tensor(points).view(-1, 2)
    assert metrics.sliced_wasserstein(drawn, data.moons(500, seed=1)[0]) < 0.15


@ENGINE
def test_the_data_sets_are_those_of_the_course(run_js):
    for name, same in (("moons", data.moons), ("checkerboard", data.checkerboard)):
        there = run_js(f"return [...Live.dataSets.{name}(3000, Live.generator(4))];")
        points, fresh = torch.tensor(there).view(-1, 2), same(3000, seed=1)[0]
        assert metrics.sliced_wasserstein(points, fresh) < 0.03
    assert metrics.share_inside(points) == 1


@ENGINE
def test_every_mistake_shows(run_js):
    """The right walk ends on all of the moons; the wrong one leaves them, or leaves most of them out."""
    walks = json.dumps((LIVE / "mistakes.js").read_text(encoding="utf-8").replace("Live.mount(", "void ("))
    found = run_js(f"""(0, eval)({walks});
        const data = Live.dataSets.moons(200, Live.generator(3)), found = {{}};
        for (const key of Object.keys(Live.mistakes)) {{
          found[key] = [];
          for (const walk of Live.mistakenWalks(key, data, 10, 200)) {{
            let state;
            for await (state of Live.reverse(walk));
            const gap = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
            const pairs = (flat) => [...flat].flatMap((v, i) => (i % 2 ? [] : [[v, flat[i + 1]]]));
            const all = pairs(data), x = pairs(state.x).filter((p) => p.every(Number.isFinite));
            const home = x.filter((p) => all.some((d) => gap(p, d) < 0.06)).length / 200;
            const reached = all.filter((d) => x.some((p) => gap(p, d) < 0.15)).length / 200;
            found[key].push([home, reached]);
          }}
        }}
        return found;""")
    assert len(found) >= 6
    for key, (wrong, right) in found.items():
        assert min(right) > 0.9, (key, right)
        assert min(wrong) < 0.85, (key, wrong)


# ---- In a browser ------------------------------------------------------------------------------------------

POINTS = "<div data-live='points' data-points='300' {}></div>"
STAGE = "document.querySelector('[data-live=points]').stage"


@pytest.fixture
def open_page(tmp_path):
    """open_page(body, width): the page, open; at its end: no error, nothing fetched elsewhere."""

    @contextmanager
    def opened(body, width=1280, **media):
        with page(tmp_path / "profile", width, 900) as tab:
            asked = []
            tab.on("request", lambda request: asked.append(request.url))
            if media:
                tab.emulate_media(**media)
            tab.goto(write_page(tmp_path, body).as_uri())
            tab.wait_for_selector(".live-canvas")
            yield tab
            assert tab.errors == []
            assert all(url.startswith(("file:", "data:")) for url in asked)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width

    return opened


def mean_move(tab, milliseconds=1200) -> float:
    before = tab.evaluate(f"[...{STAGE}.x]")
    tab.wait_for_timeout(milliseconds)
    return (torch.tensor(tab.evaluate(f"[...{STAGE}.x]")) - torch.tensor(before)).abs().mean().item()


def inked(tab) -> int:
    """Pixels that are drawn on the canvas."""
    return tab.evaluate("""(() => { const c = document.querySelector('.live-canvas');
        const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < p.length; i += 4) n += p[i] > 40; return n; })()""")


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_first_view_is_alive(open_page, width):
    with open_page(POINTS.format(""), width) as tab:
        tab.wait_for_function(f"{STAGE}.frames > 5")
        assert mean_move(tab) > 0.02 and inked(tab) > 500
        assert tab.inner_text(".live-first") == "Pause"
        tab.wait_for_function(
            f"{STAGE}.settings.data !== 'letters'", timeout=60_000
        )  # the tour goes on by itself


@needs_browser
def test_without_motion_nothing_moves_by_itself(open_page):
    with open_page(POINTS.format(""), reduced_motion="reduce") as tab:
        tab.wait_for_function(f"{STAGE}.frames > 0")
        assert mean_move(tab, 800) == 0 and inked(tab) > 500


@needs_browser
@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_while_the_tour_rests_the_button_says_and_does_play_again(open_page, key):
    with open_page(POINTS.format("data-steps='2'")) as tab:
        tab.wait_for_function(f"{STAGE}.arrived", timeout=20_000)
        assert tab.inner_text(".live-first") == "Play again"
        tab.focus(".live-first")
        tab.keyboard.press(key)
        tab.wait_for_function(f"{STAGE}.playing && !{STAGE}.paused && !{STAGE}.arrived", timeout=5_000)
        assert tab.inner_text(".live-first") == "Pause"


@needs_browser
def test_play_pause_and_step_by_keyboard(open_page):
    with open_page(POINTS.format("data-autoplay='no' data-data='moons' data-steps='10'")) as tab:
        assert mean_move(tab, 600) == 0
        for name in ("Play", "Step", "New noise"):
            assert tab.get_by_role("button", name=name).count() == 1
        tab.get_by_role("button", name="Step").focus()
        tab.keyboard.press("Enter")
        tab.wait_for_function(f"{STAGE}.t === 900 && {STAGE}.paused", timeout=20_000)
        tab.keyboard.press("Enter")
        tab.wait_for_function(f"{STAGE}.t === 800", timeout=20_000)
        assert tab.get_attribute(".live-canvas", "aria-label").startswith("Moons")
        tab.get_by_role("button", name="Play").focus()
        tab.keyboard.press("Space")
        tab.wait_for_function(f"{STAGE}.t === 0 && !{STAGE}.playing", timeout=30_000)
        assert tab.inner_text(".live-first") == "Play again"
        home = torch.tensor(tab.evaluate(f"[...{STAGE}.x]")).view(-1, 2)
        real = torch.tensor(tab.evaluate(f"[...{STAGE}.data]")).view(-1, 2)
        assert float((torch.cdist(home, real).min(1).values < 0.15).float().mean()) > 0.9
        level = tab.get_by_role("slider", name="Noise level")
        level.focus()
        for _ in range(3):
            tab.keyboard.press("PageUp")
        t = tab.evaluate(f"{STAGE}.t")
        assert t > 100 and level.get_attribute("aria-valuetext") == f"{t} of 1,000"
        tab.get_by_role("radio", name="Moons").focus()
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate(f"{STAGE}.settings.data") == "spiral"


@needs_browser
@pytest.mark.parametrize("pointer", ["mouse", "touch"])
def test_a_drawing_becomes_the_data(open_page, pointer):
    with open_page(
        POINTS.format("data-autoplay='no' data-data='moons'"), 390 if pointer == "touch" else 1280
    ) as tab:
        box = tab.locator(".live-canvas").bounding_box()
        middle, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        xs = [middle - 100 + 10 * i for i in range(21)]
        if pointer == "mouse":
            tab.mouse.move(xs[0], y)
            tab.mouse.down()
            for x in xs:
                tab.mouse.move(x, y)
            tab.mouse.up()
        else:
            tab.get_by_role("radio", name="Draw your own").check(force=True)
            cdp = tab.context.new_cdp_session(tab)
            cdp.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
            for i, x in enumerate(xs):
                kind = "touchMove" if i else "touchStart"
                cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
            cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        tab.wait_for_function(f"{STAGE}.settings.data === 'draw' && {STAGE}.data")
        drawn = torch.tensor(tab.evaluate(f"[...{STAGE}.data]")).view(-1, 2)
        scale = tab.evaluate(f"{STAGE}.view.scale")
        assert abs(float(drawn[:, 0].max()) - 100 / scale) < 0.12 and float(drawn[:, 1].abs().max()) < 0.15
        tab.wait_for_function(f"{STAGE}.t > 0")
        tab.wait_for_function(f"{STAGE}.t === 0 && !{STAGE}.playing", timeout=30_000)
        assert tab.inner_text(".live-first") == "Play again"
        home = torch.tensor(tab.evaluate(f"[...{STAGE}.x]")).view(-1, 2)
        assert float(home[:, 1].abs().max()) < 0.25 and float(home[:, 0].std()) > 0.2


@needs_browser
def test_an_empty_sheet_is_empty(open_page):
    with open_page(POINTS.format("data-data='moons'")) as tab:
        tab.wait_for_function(f"{STAGE}.t > 0 && {STAGE}.t < 900 && {STAGE}.frames > 40", timeout=20_000)
        tab.get_by_role("radio", name="Draw your own").check(force=True)
        tab.wait_for_timeout(300)
        assert tab.evaluate(f"{STAGE}.t") == 0 and inked(tab) == 0
        assert "0 of 1,000" in tab.inner_text(".live-bar") and tab.inner_text(".live-where") == ""
        walks = [tab.get_by_role("button", name=name) for name in ("Play", "Step", "New noise")]
        walks.append(tab.get_by_role("slider", name="Noise level"))
        assert all(one.is_disabled() for one in walks)
        box = tab.locator(".live-canvas").bounding_box()
        tab.mouse.move(box["x"] + 300, box["y"] + 100)
        tab.mouse.down()
        tab.mouse.move(box["x"] + 500, box["y"] + 150, steps=5)
        tab.mouse.up()
        tab.wait_for_function(f"{STAGE}.data && {STAGE}.playing")
        assert all(one.is_enabled() for one in walks[1:])
        tab.get_by_role("button", name="Clear the drawing").click()
        assert walks[1].is_disabled() and tab.evaluate(f"{STAGE}.t") == 0


@needs_browser
def test_every_control_has_a_label_and_a_line_of_explanation(open_page):
    with open_page(POINTS.format("data-autoplay='no'") + "<div data-live='mistakes'></div>") as tab:
        tab.click("summary")
        bare = tab.evaluate("""(() => {
            const help = (one) => document.getElementById(one.getAttribute('aria-describedby'));
            return [...document.querySelectorAll('.live input:not([type=radio]), .live select')].filter(
              (one) => !one.labels.length || !help(one) || help(one).textContent.trim().length < 10
            ).map((one) => one.outerHTML); })()""")
        assert bare == []
        for schedule, sampler in (("linear", "ancestral"), ("cosine", "naive"), ("linear", "dpmSolver")):
            tab.get_by_label("Schedule").select_option(schedule)
            tab.get_by_label("Sampler").select_option(sampler)
            tab.get_by_label("Arrows").check()
            tab.locator(".live-canvas").first.scroll_into_view_if_needed()  # it rests where nobody sees it
            tab.wait_for_function(
                f"{STAGE}.t < 990 && {STAGE}.schedule.name === '{schedule}'", timeout=30_000
            )
        assert tab.get_by_label("Fresh noise").is_enabled() and inked(tab) > 500


@needs_browser
def test_a_network_trains_on_the_page(open_page):
    with open_page(POINTS.format("data-autoplay='no' data-data='moons' data-train-steps='40'")) as tab:
        tab.get_by_text("Train one here").click()
        said = tab.locator(".live-training .live-help").filter(has_text=re.compile("^Step 40 of 40"))
        said.wait_for(timeout=60_000)
        assert re.search(r"is 0\.\d\d now and was [01]\.\d\d", said.inner_text())
        tab.get_by_text("Trained network").click()
        assert tab.evaluate(f"{STAGE}.settings.denoiser") == "learned"
        tab.get_by_text("Spiral").click()  # for which there is none
        assert tab.evaluate(f"{STAGE}.settings.denoiser") == "exact"


@needs_browser
def test_a_mistake_is_seen_at_the_end_too(open_page):
    """Where no point is left in the picture, or all lie on each other, words say so."""
    place = "document.querySelector('[data-live=mistakes]')"
    with open_page("<div data-live='mistakes'></div>", reduced_motion="reduce") as tab:
        assert tab.locator(".live-key").inner_text().startswith("the data")
        tab.wait_for_function(f"{place}.dataset.done", timeout=60_000)
        wrong, right = tab.locator(".live-wrong .live-note"), tab.locator(".live-right .live-note")
        shown = int(re.match(r"(\d+) of 500 points have left the picture", wrong.inner_text())[1])
        assert 0 < shown < 250, "of the first mistake most points are seen"
        for key, said in (("alphaBar", "500 of 500 points have left"), ("noNoise", "in one place")):
            tab.get_by_label("One line is wrong").select_option(key)
            tab.wait_for_function(f"{place}.dataset.done === '{key}'", timeout=60_000)
            assert said in wrong.inner_text() and right.inner_text() == ""


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_mistake_is_shown_beside_the_right_sampler(open_page, width):
    with open_page("<div data-live='mistakes'></div>", width) as tab:
        tab.get_by_label("One line is wrong").select_option("variance")
        codes = tab.locator(".live-side code").all_inner_texts()
        assert codes == ["x = mean + var * noise", "x = mean + var.sqrt() * noise"]
        tab.wait_for_function(
            "document.querySelector('[data-live=mistakes]').dataset.done === 'variance'", timeout=60_000
        )
