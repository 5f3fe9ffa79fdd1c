// The controls of the live points: what can be chosen, and the words beside it. points.js gives them their work.
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const DATA = { letters: "Letters", moons: "Moons", spiral: "Spiral", checkerboard: "Checkerboard", draw: "Draw your own" };
  const DENOISERS = {
    exact: ["Exact average", "Each point asks: of which data points could I be a noisy copy? It moves towards their average. Nothing is trained."],
    learned: ["Trained network", "A small network, trained beforehand, guesses where each point came from. It knows the moons and the checkerboard."],
    trained: ["Train one here", "A network begins with random numbers and learns on your data now. The points use what it knows so far."],
  };
  const SAMPLERS = {
    ddim: ["DDIM", "Leaps over many levels at once. Without fresh noise, the paths are smooth."],
    dpmSolver: ["DPM-Solver++", "Leaps too, and bends each one by what it saw a step before: fewer steps will do."],
    ancestral: ["Ancestral", "The first method: all 1,000 levels one by one, with a little fresh noise after each."],
    naive: ["Naive skipping", "Leaves levels out but moves as if it had not: a famous mistake. Watch where the points end."],
  };
  const first = (table) => Object.fromEntries(Object.entries(table).map(([key, [name]]) => [key, name]));

  Live.number = (value) => value.toLocaleString("en-GB");
  Live.plural = (value, word) => `${Live.number(value)} ${word}${value === 1 ? "" : "s"}`;

  // What the data attributes of a page ask for; anything unknown falls back to the first view.
  Live.pointSettings = function (options) {
    const known = (name, table, otherwise) => (options[name] in table ? options[name] : otherwise);
    return {
      data: known("data", DATA, "letters"), word: (options.word || "hello").slice(0, 9),
      denoiser: known("denoiser", DENOISERS, "exact"), sampler: known("sampler", SAMPLERS, "ddim"),
      schedule: options.schedule === "linear" ? "linear" : "cosine", steps: Number(options.steps) || 40,
      eta: Number(options.eta) || 0, points: Number(options.points) || 1000,
      trainSteps: Number(options.trainSteps) || 2000, field: options.field === "yes", trails: true,
    };
  };

  // settings: as above; on: {play, step, again, noise(t), data(name), word(text), clear, denoiser(name), train,
  // setting(changes), look(changes)}. Returns the elements that change later.
  Live.pointPanel = function (place, settings, on) {
    const element = Live.element, toSteps = (value) => Math.round(10 ** (value / 100)); // 0 .. 300 to 1 .. 1,000
    const canvas = element("canvas", { class: "live-canvas", role: "img" });
    const where = element("span", { class: "live-where", "aria-hidden": "true" });
    const hint = element("span", { class: "live-hint", "aria-hidden": "true" }, "Draw here with mouse or finger");
    const say = element("p", { class: "live-say", "aria-live": "polite" });
    const play = Live.button("Play", on.play, { class: "live-button live-first" });
    const walks = [play, Live.button("Step", on.step), Live.button("New noise", on.again)];
    const level = Live.slider({
      label: "Noise level", min: 0, max: 1000, value: 0, ends: ["data", "noise"], onchange: on.noise,
      show: (t) => `${Live.number(t)} of 1,000`,
      help: "Drag to bury the data in noise. Play lets the points walk home from there.",
    });
    const bar = element("div", { class: "live-bar" }, element("div", { class: "live-buttons" }, ...walks), level);
    const data = Live.choice({ label: "Data", choices: DATA, value: settings.data, onchange: on.data });
    const word = Live.textField({
      label: "Word", value: settings.word, maxlength: 9, help: "Up to nine letters; the points will write it.",
      onchange: on.word,
    });
    const clear = Live.button("Clear the drawing", on.clear);
    const denoiser = Live.choice({
      label: "Who takes the noise away?", choices: first(DENOISERS), value: settings.denoiser, onchange: on.denoiser,
    });
    const about = element("p", { class: "live-help live-about" });
    const curve = element("canvas", { class: "live-curve", role: "img", "aria-label": "The loss of the training, falling" });
    const learned = element("p", { class: "live-help" });
    const training = element("div", { class: "live-training" }, element("div", {}, curve, learned),
      Live.button("Train again", on.train));
    const sampler = Live.select({
      label: "Sampler", choices: first(SAMPLERS), value: settings.sampler, help: " ",
      onchange: (value) => on.setting({ sampler: value }),
    });
    const steps = Live.slider({
      label: "Steps", min: 0, max: 300, value: 100 * Math.log10(settings.steps),
      show: (value) => (settings.sampler === "ancestral" ? "1,000, all levels" : Live.number(toSteps(value))),
      onchange: (value) => on.setting({ steps: toSteps(value) }),
      help: "How often the denoiser is asked on the way home. Few are quick, many are exact.",
    });
    const eta = Live.slider({
      label: "Fresh noise (eta)", min: 0, max: 1, step: 0.1, value: settings.eta, show: (value) => value.toFixed(1),
      onchange: (value) => on.setting({ eta: value }),
      help: "0: none, the same start always ends in the same place. 1: as much as the ancestral walk.",
    });
    const schedule = Live.select({
      label: "Schedule", choices: { cosine: "Cosine", linear: "Linear" }, value: settings.schedule,
      onchange: (value) => on.setting({ schedule: value }), help: "How fast the noise grows from level to level.",
    });
    const points = Live.slider({
      label: "Points", min: 100, max: 2000, step: 100, value: settings.points, show: Live.number,
      onchange: (value) => on.setting({ points: value }), help: "How many walk home at once.",
    });
    const field = Live.checkbox({
      label: "Arrows", value: settings.field, onchange: (value) => on.look({ field: value }),
      help: "The score field: from every place, the way home at this noise level.",
    });
    const trails = Live.checkbox({
      label: "Trails", value: settings.trails, onchange: (value) => on.look({ trails: value }),
      help: "Each point leaves a thin line where it went.",
    });
    const more = element("details", { class: "live-more" }, element("summary", {}, "More"),
      element("div", { class: "live-grid" }, sampler, steps, eta, schedule, points, field, trails));
    place.append(element("div", { class: "live-stage" }, canvas, Live.pointKey(), where, hint), say, bar, data,
      element("div", { class: "live-extra" }, word, clear), denoiser, about, training, more);

    // empty: there is no data, and so nothing that could walk
    function update({ drawn, empty }) {
      for (const one of [...walks, level.input]) one.disabled = empty;
      word.hidden = settings.data !== "letters";
      clear.hidden = settings.data !== "draw" || !drawn;
      hint.hidden = settings.data !== "draw" || drawn;
      canvas.classList.toggle("live-drawing", settings.data === "draw");
      data.set(settings.data);
      denoiser.set(settings.denoiser);
      about.textContent = DENOISERS[settings.denoiser][1];
      training.hidden = settings.denoiser !== "trained";
      sampler.querySelector(".live-help").textContent = SAMPLERS[settings.sampler][1];
      steps.input.disabled = settings.sampler === "ancestral";
      eta.input.disabled = settings.sampler === "ancestral" || settings.sampler === "naive";
      steps.tell();
    }

    return { canvas, where, say, play, level, curve, learned, update, dataName: () => DATA[settings.data] };
  };
})(globalThis.Live);
