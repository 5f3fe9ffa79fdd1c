// "Ask for a digit": the page of the class-conditional network (digits_net.js), drawn on by digits_draw.js.
// Until the reader starts it, and where no network can run, a recorded film is shown (digits_film.webp).
//
//   <div data-live="digits" data-digit="7" data-scale="2" data-steps="15" data-mode="one"></div>
//
// mode: one, eight or own; digit: 0 to 9 or any. data-ort: address of onnxruntime-web, by default ../ort/; "none"
// where a site has none. Scripts before this one: sampling.js, controls.js, digits_draw.js, digits_net.js.
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const HERE = new URL(".", document.currentScript.src).href, SIZE = 28;
  const DOWNLOAD = "17 MB"; // 14.3 of the runtime, 2.6 of the network
  const GET_RUNTIME =
    "the network has nothing to run on. To draw live, install Node.js, run make site again, then make open.";
  const COLUMNS = 10, REPEATS = 3; // pictures in a filmstrip; rounds for each step when a part is filled in
  const SAMPLERS = { fresh: "DPM-Solver++ with fresh noise", dpm: "DPM-Solver++", ddim: "DDIM" };
  const { element, button, picture, figure } = Live;
  const note = (text) => element("p", { class: "live-help" }, text);

  // ---- Before the start ---------------------------------------------------------------------------------

  // Why no network can run here, and what to do; "" where one can.
  function findHindrance(runtime) {
    if (location.protocol === "file:") {
      return (
        "This page was opened as a file, and browsers let no network run in a file. To draw digits of your own, " +
        "run make open in the course's folder: it opens the same page from a small web server."
      );
    }
    if (runtime === "none") return `This site was built without npm, so that ${GET_RUNTIME}`;
    const needed = ["WebAssembly", "Worker", "BigInt64Array"];
    if (needed.every((name) => name in globalThis)) return "";
    return "Live, the digits need WebAssembly, which this browser has not, or not switched on.";
  }

  function build(place, options) {
    const film = Live.film(`${HERE}digits_film.webp`), runtime = options.ort || "../ort/";
    const hindrance = findHindrance(runtime);
    place.classList.add("digits");
    place.append(film.shown, film.controls);
    if (hindrance) return place.append(note(hindrance));
    const said = element("p", { class: "live-help", role: "status" });
    const bar = element("progress", { max: 1, value: 0, "aria-label": "Download", hidden: true });
    const start = button("Start: let it draw live", begin, { class: "live-button live-first" });
    said.textContent = `Downloads ${DOWNLOAD} once. After that, everything happens in this page, on your machine.`;
    place.append(element("div", { class: "digits-start" }, start, bar, said));

    async function begin() {
      start.disabled = true;
      bar.hidden = false;
      const progress = (loaded, total) => {
        bar.value = loaded / total;
        const waits = loaded < total ? "" : " They are here; the network wakes up.";
        said.textContent = `${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB.${waits}`;
      };
      try {
        const folder = { folder: HERE, runtime: new URL(runtime, HERE).href };
        const network = await Live.digits.open({ ...folder, progress });
        const focused = place.contains(document.activeElement) || document.activeElement === document.body;
        film.stop();
        place.replaceChildren();
        const first = makePanel(place, network, options);
        if (focused) first.focus({ preventScroll: true });
      } catch (error) {
        bar.hidden = true;
        start.disabled = false;
        said.textContent =
          `The network could not be started: ${error.message}. In a site that was built without npm ${GET_RUNTIME}`;
      }
    }
  }

  // ---- The live panel -----------------------------------------------------------------------------------

  function makePanel(place, network, options) {
    const { PIXELS, NO_LABEL, schedule, samplers, startAt, fillIn } = Live.digits;
    let mode = options.mode || "one", task = "redraw", run = 0, last = null, waiting = null;

    // Draw when nothing has been changed for a moment. wanted: "redraw" or "fill", for a picture of the reader's.
    function later(wanted) {
      clearTimeout(waiting);
      waiting = setTimeout(() => draw(wanted), 250);
    }
    const soon = () => later(task);
    const modes = Live.choice({
      label: "What to do",
      choices: { one: "One digit", eight: "Eight at once", own: "Your own" },
      value: mode,
      onchange: change,
    });
    const names = { ...Object.fromEntries([..."0123456789"].map((d) => [d, d])), any: "any" };
    const digit = Live.choice({
      label: "Which digit?",
      choices: names,
      value: options.digit || "3",
      onchange: soon,
    });
    const scale = Live.slider({
      label: "How loudly to ask",
      help: "The guidance scale. 0 ignores the digit, 1 asks once; at 8 all answers look alike.",
      min: 0, max: 8, step: 0.5, value: options.scale || 2, onchange: soon,
    });
    const steps = Live.slider({
      label: "Steps",
      help: "How often the network is asked. More take longer and come out a little better.",
      min: 2, max: 50, value: options.steps || 15, onchange: soon,
    });
    const sampler = Live.select({
      label: "Sampler",
      help: "The way to get from one noise level to the next.",
      choices: SAMPLERS, value: "fresh", onchange: soon,
    });
    const seed = Live.textField({
      label: "Seed",
      help: "One number, one noise to start from: with the same settings it gives the same digit again.",
      value: "1", maxlength: 6, onchange: soon,
    });
    seed.input.inputMode = "numeric";
    const summary = element("summary", {}, "More: steps, sampler, seed");
    const grid = element("div", { class: "live-grid" }, steps, sampler, seed);
    const more = element("details", { class: "live-more" }, summary, grid);

    const anew = (wanted) => {
      seed.input.value = readSeed() + 1;
      draw(wanted);
    };
    const another = button("Draw another", () => anew(), { class: "live-button live-first" });
    const said = element("p", { class: "digits-said", role: "status" });
    const step = element("p", { class: "digits-said", "aria-hidden": "true" });
    const sheet = Live.sheet(), result = picture(SIZE, SIZE, "The digit being drawn"), own = makeOwn();
    const shown = figure("Drawn by the network", result);
    const stage = element("div", { class: "live-stage digits-stage" }, own.figures, shown, sheet.box);
    const asks = element("div", { class: "digits-asks" }, digit, scale);
    const buttons = element("div", { class: "digits-row" }, another, own.buttons, step, said);
    place.append(modes, own.kit, stage, buttons, own.level, asks, more);
    const readSeed = () => Number.parseInt(seed.value, 10) >>> 0;

    // The pad, what noise makes of it, and what can be done with both.
    function makeOwn() {
      const pad = element("canvas", {
        width: SIZE, height: SIZE, tabindex: 0, role: "application", class: "digits-pad",
        "aria-label": "Drawing pad. Arrow keys move the pen, the space bar puts it down and lifts it.",
      });
      const noisy = picture(SIZE, SIZE, "Your digit under noise");
      const drawn = Live.pad(pad, () => {
        preview();
        later(drawn.hole.includes(1) ? "fill" : "redraw");
      });
      const level = Live.slider({
        label: "Noise",
        help: "How much noise to put on it. Under little the network keeps your strokes; under much it forgets them.",
        min: 50, max: 950, step: 25, value: 600, show: (t) => `level ${t} of 1,000`,
        onchange: () => {
          preview();
          later("redraw");
        },
      });
      const tool = Live.choice({
        label: "Draw with",
        choices: { pen: "Pen", rubber: "Rubber" },
        value: "pen",
        onchange: (name) => (drawn.tool = name),
      });
      const helpers = [
        button("An example", () => digit.set(drawn.example())),
        button("The last digit drawn", () => last && drawn.take(last)),
        button("Rub out the lower half", drawn.rubOutHalf),
        button("Clear", () => (drawn.clear(), digit.set("any"))),
      ];
      const kit = element("div", { class: "digits-own" },
        note("Draw a digit that fills the pad: by mouse, finger, or the arrow keys and the space bar. The network " +
          "draws it again in its own hand. What the rubber takes away, it fills in."),
        element("div", { class: "digits-row" }, tool, ...helpers));
      const redraw = button("Redraw it from new noise", () => anew("redraw"), { class: "live-button live-first" });
      const fill = button("Fill the gap from new noise", () => anew("fill"));
      const buttons = element("span", { class: "digits-row" }, redraw, fill);
      const pair = [figure("Draw here", pad), figure("Under noise", noisy)];
      const figures = element("div", { class: "digits-pair" }, ...pair);
      return { kit, buttons, figures, noisy, fill, level, pad: drawn };
    }

    // The reader's picture at the chosen level: where redrawing begins.
    function noised() {
      return Live.noised(schedule, own.pad.picture, own.level.value, Live.generator(readSeed())(PIXELS));
    }

    function preview() {
      own.fill.disabled = !own.pad.hole.includes(1);
      Live.paint(own.noisy.getContext("2d"), noised());
    }

    function arrange() {
      for (const part of [own.kit, own.buttons, own.figures, own.level]) part.hidden = mode !== "own";
      another.hidden = mode === "own";
      another.textContent = mode === "eight" ? "Draw eight more" : "Draw another";
      shown.hidden = mode === "eight";
      stage.dataset.mode = mode;
    }

    function change(to) {
      mode = to;
      clearTimeout(waiting);
      arrange();
      if (mode === "own" && isBlank()) digit.set(own.pad.example());
      draw(task);
    }

    const isBlank = () => own.pad.picture.every((value) => value === -1);

    // What to walk with: the start, the rule and how many pictures.
    function plan() {
      const fresh = Live.generator(readSeed()), count = mode === "eight" ? 8 : 1, x = fresh(count * PIXELS);
      const label = digit.value === "any" ? NO_LABEL : Number(digit.value);
      let rule = samplers[sampler.value](steps.value), asked = steps.value;
      const model = network.guided(Array(count).fill(label), scale.value);
      const walk = { model, x, draw: fresh, schedule, clip: 1 };
      if (mode === "own" && task === "redraw") {
        rule = startAt(rule, own.level.value);
        walk.x = noised();
      } else if (mode === "own") {
        rule = fillIn(rule, own.pad.picture.slice(), own.pad.hole.map((each) => 1 - each), REPEATS);
        asked *= REPEATS;
      }
      return { walk: { ...walk, rule }, count, asked };
    }

    async function draw(wanted = task) {
      const mine = ++run; // whatever else is being drawn stops when it sees that it is not the last
      task = wanted;
      if (mode === "own") preview();
      if (mode === "own" && isBlank()) {
        sheet.clear(COLUMNS);
        result.width = SIZE;
        said.textContent = "Draw something first.";
        return;
      }
      const { walk, count, asked } = plan(), began = performance.now();
      const columns = count > 1 ? count : Math.min(COLUMNS, asked + 1);
      const column = (at) => Math.floor((at * (columns - 1)) / asked);
      sheet.clear(columns, count > 1 && place.clientWidth < 560 ? 4 : columns);
      said.textContent = "";
      let latest;
      try {
        for await (const state of Live.reverse(walk)) {
          if (mine !== run) return;
          const pictures = [state.x, state.x0];
          if (count > 1) {
            const part = (from, i) => from && from.subarray(i * PIXELS, (i + 1) * PIXELS);
            for (let i = 0; i < count; i++) sheet.put(i, ...pictures.map((from) => part(from, i)));
          } else {
            const [at, before] = [column(state.step), column(state.step - 1)];
            if (at > before || state.step === 0) sheet.put(at, ...pictures);
            Live.paint(result.getContext("2d"), state.x);
          }
          step.textContent = `step ${state.step} of ${asked}`;
          latest = state.x;
        }
        last = latest.subarray(0, PIXELS);
        step.textContent = "";
        said.textContent = `Asked ${asked} times in ${((performance.now() - began) / 1000).toFixed(1)} s.`;
        result.setAttribute("aria-label", `A digit, drawn from seed ${readSeed()}; asked for: ${digit.value}`);
      } catch (error) {
        if (mine === run) said.textContent = `The network stopped: ${error.message}`;
      }
    }

    change(mode);
    return modes.inputs[mode]; // where the keyboard goes on
  }

  Live.mount("digits", build);
})(globalThis.Live);
