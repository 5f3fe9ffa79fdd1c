// See the mistake: a sampler with one line wrong, beside the right one, from the same noise.
//
//   <div data-live="mistakes" data-mistake="variance"></div>
//
// Scripts before this one: sampling.js, controls.js, points_model.js, points_weights.js, points_view.js. Look: live.css.
"use strict";

(function (Live) {
  const POINTS = 500, SECONDS = 4;
  const ancestral = Live.rules.ancestral(), betaNoise = Live.rules.ancestral("beta");
  const moving = (move, rule = ancestral) => ({ ...rule, move });
  const plus = (mean, spread, noise) => mean.map((value, i) => value + spread * noise[i]);
  const predicting = (prediction, model) => Object.assign(model, { prediction });

  // The model that predicts eps by a denoiser.
  function epsBy(denoiser, schedule) {
    return predicting("eps", (x, t) => Live.toEpsX0(schedule, denoiser(x, t), x, t, denoiser.prediction).eps);
  }

  // Each has the wrong lines and the right ones as a student writes them, why it matters, and what differs in
  // the walk: wrong(walk) and right(walk) return changes of {schedule, model, rule, x, draw}. T: levels.
  const MISTAKES = {
    wrongWay: {
      title: "The loop runs the wrong way", T: 100,
      lines: ["for t in range(1, T + 1):\n    x = step(x, t)", "for t in range(T, 0, -1):\n    x = step(x, t)"],
      why: "The way home begins at the highest level. Counted upwards, the first step already claims that hardly any noise is left, and the later ones put it back in.",
      wrong: () => ({ rule: {
        ...ancestral, levels: (T) => Array.from({ length: T }, (_, i) => i + 1), // with noise in all but t = 1
        move: (schedule, x, t, next, eps, x0, draw) => ancestral.move(schedule, x, t, t - 1, eps, x0, draw),
      } }),
    },
    alphaBar: {
      title: "alpha_bar where alpha belongs", T: 100,
      lines: ["x = x - beta / (1 - alpha_bar).sqrt() * eps\nx = x / alpha_bar.sqrt()",
        "x = x - beta / (1 - alpha_bar).sqrt() * eps\nx = x / alpha.sqrt()"],
      why: "One step undoes one level, so it divides by the signal that this level alone has kept. Dividing by what all levels kept makes every step far too large: the points fly apart.",
      wrong: () => ({ rule: moving((schedule, x, t, next, eps) => {
        const a = schedule.alphaBar[t], size = schedule.betas[t] / Math.sqrt(1 - a);
        return x.map((value, i) => (value - size * eps[i]) / Math.sqrt(a));
      }) }),
    },
    skipping: {
      title: "Levels left out, same formula", T: 1000,
      lines: ["for t in range(1000, 0, -50):\n    x = ancestral_step(x, t)",
        "for t in range(1000, 0, -50):\n    x = ddim_step(x, t, t - 50)"],
      why: "The ancestral formula goes down by one level. Whoever skips 49 levels must tell the step so; DDIM's formula is told. Otherwise most of the noise is still there at the end.",
      wrong: () => ({ rule: Live.rules.naive(20) }), right: () => ({ rule: Live.rules.ddim(20) }),
    },
    noNoise: {
      title: "No fresh noise", T: 100,
      lines: ["x = mean", "x = mean + var.sqrt() * noise"],
      why: "The mean is an average over all places a point may come from. Without fresh noise the points pull together, and most of the data is never reached.",
      wrong: () => ({ rule: moving((schedule, x, t, next, eps, x0) => Live.posterior(schedule, x0, x, t).mean) }),
    },
    variance: {
      title: "Variance for standard deviation", T: 100,
      lines: ["x = mean + var * noise", "x = mean + var.sqrt() * noise"],
      why: "Noise is scaled by its standard deviation, the root of the variance. The variance of a step is a small number, and its root is much larger: without the root hardly any noise comes in.",
      wrong: () => ({ rule: moving((schedule, x, t, next, eps, x0, draw) => {
        const { mean, variance } = Live.posterior(schedule, x0, x, t);
        return plus(mean, variance, draw(x.length));
      }) }),
    },
    lastNoise: {
      title: "Noise after the last step", T: 25,
      lines: ["x = mean + beta.sqrt() * noise", "x = mean\nif t > 1:\n    x = x + beta.sqrt() * noise"],
      why: "After the last step nobody takes noise away any more. What is added there stays: the points lie around the moons as if blurred.",
      wrong: () => ({ rule: moving((schedule, x, t, next, eps, x0, draw, before) => {
        const moved = betaNoise.move(schedule, x, t, next, eps, x0, draw, before);
        return next ? moved : plus(moved, Math.sqrt(schedule.betas[t]), draw(x.length));
      }) }),
      right: () => ({ rule: betaNoise }),
    },
    epsAsX0: {
      title: "The noise taken for the data", T: 100,
      lines: ["x0 = model(x, t)",
        "eps = model(x, t)\nx0 = x - (1 - alpha_bar).sqrt() * eps\nx0 = x0 / alpha_bar.sqrt()"],
      why: "This network predicts the noise in a point. Whoever takes its answer for the clean point follows the noise, and is carried away from the data instead of home.",
      wrong: ({ model }) => ({ model: predicting("x0", (x, t) => model(x, t)) }),
    },
    start: {
      title: "rand for randn", T: 100,
      lines: ["x = torch.rand(n, 2)", "x = torch.randn(n, 2)"],
      why: "rand gives numbers between 0 and 1, all in one corner of where noise should be. With a sampler that adds no noise of its own, most of the data is never reached from there.",
      wrong: ({ draw, x }) => ({ rule: Live.rules.ddim(50), x: x.map(() => draw.uniform()) }),
      right: () => ({ rule: Live.rules.ddim(50) }),
    },
    sameNoise: {
      title: "The same noise at every step", T: 100,
      lines: ["noise = torch.randn_like(x)\nfor t in range(T, 0, -1):\n    ..", "for t in range(T, 0, -1):\n    noise = torch.randn_like(x)\n    .."],
      why: "Fresh noise of many steps partly cancels out. The same noise again and again adds up and pushes each point in one direction all the way.",
      wrong: ({ draw, x }) => {
        const noise = draw(x.length);
        return { draw: () => noise };
      },
    },
    sign: {
      title: "A plus for a minus", T: 100,
      lines: ["mean = x + beta / (1 - alpha_bar).sqrt() * eps\nmean = mean / alpha.sqrt()",
        "mean = x - beta / (1 - alpha_bar).sqrt() * eps\nmean = mean / alpha.sqrt()"],
      why: "The predicted noise must be taken away. Added, it drives each point further from the data at every step.",
      wrong: () => ({ rule: moving((schedule, x, t, next, eps, x0, draw) => {
        const size = schedule.betas[t] / Math.sqrt(1 - schedule.alphaBar[t]), keep = Math.sqrt(1 - schedule.betas[t]);
        const spread = next ? Math.sqrt(Live.posterior(schedule, x0, x, t).variance) : 0;
        return plus(x.map((value, i) => (value + size * eps[i]) / keep), spread, draw(x.length));
      }) }),
    },
  };
  const FIRST = "wrongWay"; // one that is seen at a glance, in the code and in the picture
  Live.mistakes = MISTAKES;

  // The two walks of a mistake, wrong and right, from the same noise on the same points.
  Live.mistakenWalks = function (key, data, seed, points = POINTS) {
    const mistake = MISTAKES[key], schedule = Live.schedule("cosine", mistake.T);
    return ["wrong", "right"].map((side) => {
      const x = Live.generator(seed)(2 * points), draw = Live.generator(seed + 1);
      const walk = { schedule, model: epsBy(Live.exactDenoiser(data, schedule), schedule), rule: ancestral, x, draw };
      return { ...walk, ...(mistake[side] ? mistake[side](walk) : {}) };
    });
  };

  function build(place, options) {
    const element = Live.element, data = Live.dataSets.moons(400, Live.generator(3));
    let key = options.mistake in MISTAKES ? options.mistake : FIRST, run = 0, seed = 10;
    const choices = Object.fromEntries(Object.entries(MISTAKES).map(([name, { title }]) => [name, title]));
    const select = Live.select({
      label: "One line is wrong", choices, value: key, help: "Choose a famous mistake, and see what it does.",
      onchange: (value) => { key = value; start(); },
    });
    const again = Live.button("Play again", () => start(), { class: "live-button live-first" });
    const why = element("p", { class: "live-say", "aria-live": "polite" });
    const sides = ["wrong", "right"].map((side) => {
      const canvas = element("canvas", { class: "live-canvas live-half", role: "img" });
      const code = element("code", {}), title = side === "wrong" ? "With the mistake" : "Put right";
      const note = element("p", { class: "live-note" });
      const box = element("div", { class: `live-side live-${side}` }, element("p", { class: "live-title" }, title), element("pre", { tabindex: 0 }, code), canvas, note);
      return { title, canvas, code, note, box, x: null, before: null, share: 0 };
    });
    place.append(element("div", { class: "live-bar live-mistake" }, select, again), why, Live.pointKey(), element("div", { class: "live-sides" }, ...sides.map((one) => one.box)));
    for (const one of sides) one.view = Live.pointView(one.canvas, { halfWidth: 1.7, halfHeight: 1.5, onchange: () => one.x && draw(one) });
    const frame = Live.frames(sides[0].canvas);

    // The lines of one side; those that the other side has not are marked.
    function showLines(text, other) {
      const there = other.split("\n");
      return text.split("\n").map((line, i) => {
        const marked = there.includes(line) ? line : element("mark", { class: "live-changed" }, line);
        return element("span", {}, i ? "\n" : "", marked);
      });
    }

    function draw(one) {
      const { view, x, before, share } = one;
      if (before && share > 0) {
        view.fadeTrails(0.03);
        view.addTrail(before, x, view.tint(share, 0.12));
      }
      one.before = x;
      view.clear();
      view.trails();
      view.dots(data, view.colour("data", 0.3), 1.6);
      const gone = view.beyond(x), heap = x.every((value, i) => Math.abs(value - x[i % 2]) < 0.03);
      view.dots(x, view.tint(share * share, 0.85), heap ? 5 : view.dot);
      if (share === 0) one.note.textContent = "";
      else if (gone) one.note.textContent = `${gone} of ${POINTS} points have left the picture.`;
      else one.note.textContent = heap ? `All ${POINTS} points lie in one place.` : "";
    }

    async function start() {
      const mine = ++run, mistake = MISTAKES[key], walks = Live.mistakenWalks(key, data, (seed += 2));
      why.textContent = mistake.why;
      sides.forEach((one, i) => {
        one.code.replaceChildren(...showLines(mistake.lines[i], mistake.lines[1 - i]));
        one.canvas.setAttribute("aria-label", `${one.title}: ${mistake.title}. ${i ? "The points end on both moons." : mistake.why}`);
        Object.assign(one, { walk: Live.reverse(walks[i]), x: walks[i].x, before: null, share: 0 });
        one.view.clearTrails();
      });
      const count = walks[0].rule.levels(mistake.T).length, begin = performance.now();
      for (let done = 0; done <= count && mine === run; ) {
        const due = Live.calm() ? count + 1 : ((performance.now() - begin) / 1000 / SECONDS) * count, most = performance.now() + 20;
        while (done <= Math.min(due, count) && performance.now() < most) {
          for (const one of sides) {
            const { value } = await one.walk.next();
            if (value) Object.assign(one, { x: value.x, share: done / count });
          }
          done++;
        }
        if (mine === run && (!Live.calm() || done > count)) sides.forEach(draw);
        await frame();
      }
      if (mine === run) place.dataset.done = key;
    }

    start();
  }

  Live.mount("mistakes", build);
})(globalThis.Live);
