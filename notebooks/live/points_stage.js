// The stage of the live points: shows them, noises them, and lets them walk home by Live.reverse.
//
//   const stage = Live.pointStage(canvas, settings, { onpaint, onstate });
//   stage.use({ data, schedule, model });  stage.start();
//
// One thing moves the points at a time: whoever starts raises stage.run, and an older mover sees that and ends.
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const T = 1000, SHOW = 2400, PART = 200; // ms to look at the finished points; points a model does at once
  const HOME = {
    exact: "Home: every point has landed on a piece of the data. A trained network finds new places between them.",
    learned: "Home. Each point has become a new piece of data.",
    trained: "Home, as far as the network has learned the way. Train longer, and the shape gets sharper.",
    naive: "This should be home. The levels left out took their share of the noise with them: it was never removed.",
  };

  // Model of one schedule used on another: asked at the level that has the same share of noise.
  Live.onSchedule = function (model, its, schedule) {
    if (its.name === schedule.name) return model;
    const adapted = (x, t) => {
      let low = 0, high = its.T;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (its.alphaBar[middle] > schedule.alphaBar[t]) low = middle;
        else high = middle;
      }
      const share = (its.alphaBar[low] - schedule.alphaBar[t]) / (its.alphaBar[low] - its.alphaBar[high]);
      return model(x, Math.max(1, low + Math.min(1, share)));
    };
    adapted.prediction = model.prediction;
    return adapted;
  };

  // onpaint(stage) after every picture, onstate(sentence) when something begins or ends; after(): is there
  // another round? (it may give the stage other data)
  Live.pointStage = function (canvas, settings, { onpaint, onstate, after }) {
    const stage = { t: 0, run: 0, seed: 6, frames: 0, playing: false, paused: false, arrived: false, grants: 0, strokes: [] };
    const view = Live.pointView(canvas, { onchange: () => stage.x && stage.redraw() }), frame = Live.frames(canvas);
    let waiting = false, painted = null, lastPaint = 0, arrows = null, trail = null;
    stage.frame = frame;
    stage.view = view;

    // ---- Pictures ---------------------------------------------------------------------------------------
    function draw() {
      const near = 1 - stage.t / T, drawn = settings.data === "draw" ? stage.strokes : [];
      view.clear();
      if (settings.field && stage.data) drawField();
      if (settings.trails) view.trails();
      if (stage.data) view.dots(stage.data, view.colour("data", 0.28), view.dot * 0.8);
      for (const stroke of drawn) view.line(stroke, view.colour("data", 0.3), 7);
      if (stage.data && !stage.drawing) view.dots(stage.x, view.tint(near * near, 0.85));
      painted = stage.x;
      lastPaint = performance.now();
      stage.frames++;
      onpaint(stage);
    }

    function drawField() {
      const t = Math.max(stage.t, 25), { model, schedule } = stage;
      if (!arrows || Math.abs(arrows.t - t) > 12 || arrows.model !== model || arrows.width !== view.width) {
        const places = view.grid();
        const { eps } = Live.toEpsX0(schedule, model(places, t), places, t, model.prediction);
        arrows = { t, model, places, width: view.width, ways: eps.map((value) => -value) };
      }
      view.arrows(arrows.places, arrows.ways, view.colour("ink", 0.34));
    }

    stage.redraw = function () {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        draw();
      });
    };

    async function paint() {
      if (settings.trails && trail && painted && painted.length === stage.x.length && painted !== stage.x) {
        view.fadeTrails(trail.fade);
        view.addTrail(painted, stage.x, view.tint(1 - stage.t / T, trail.alpha * (1 - (0.7 * stage.t) / T)));
      }
      draw();
      await frame();
    }

    // ---- Out into noise, and home -----------------------------------------------------------------------
    const going = (run) => run === stage.run;
    const noise = () => Live.generator(++stage.seed)(2 * settings.points);

    function useHome() {
      const { data } = stage;
      stage.home = Float32Array.from({ length: 2 * settings.points }, (_, i) => data[i % data.length]);
    }

    // Other data, another schedule or model. The points go to the data, or stay where they are.
    stage.use = function ({ data, schedule, model }, stay = false) {
      Object.assign(stage, { data, schedule, model });
      stage.parted = Live.inParts(model, PART, async () => {
        if (performance.now() - lastPaint > 24) await paint();
      });
      arrows = null;
      if (stay && stage.x) return;
      useHome();
      [stage.t, stage.x, stage.noise] = [0, stage.home, null];
      view.clearTrails();
    };

    stage.stop = function () {
      stage.run++;
      Object.assign(stage, { playing: false, paused: false, arrived: false, grants: 0 });
      trail = null;
    };

    async function scatter(run) {
      const start = performance.now();
      [stage.noise, trail] = [noise(), null];
      view.clearTrails();
      onstate("Noise is added, level by level, until nothing of the data is left.");
      for (let share = 0; share < 1 && going(run); ) {
        share = Math.min(1, (performance.now() - start) / 1500);
        stage.t = Math.round(T * share * share * (3 - 2 * share));
        stage.x = Live.noised(stage.schedule, stage.home, stage.t, stage.noise);
        await paint();
      }
    }

    function ruleFrom(t) {
      const make = Live.rules[settings.sampler];
      const rule = settings.sampler === "ancestral" ? make() : make(settings.steps, settings.eta);
      return { ...rule, levels: () => [t, ...rule.levels(T).filter((one) => one < t)] };
    }

    // From where the points were painted to state.x, in `pace` milliseconds.
    async function glide(state, run, due, pace) {
      const from = stage.x, level = stage.t;
      for (let share = 0; share < 1 && going(run); ) {
        share = Math.min(1, Math.max(0, 1 - (due - performance.now()) / pace));
        stage.x = share === 1 ? state.x : state.x.map((value, i) => from[i] + share * (value - from[i]));
        stage.t = Math.round(level + share * (state.t - level));
        if (share < 1 || performance.now() - lastPaint > 24) await paint();
      }
    }

    async function walkHome(run) {
      const rule = ruleFrom(stage.t), count = rule.levels().length;
      const pace = Math.max(900, Math.min(4200, 110 * count)) / count;
      trail = count > 150 ? { alpha: 0.12, fade: 0.03 } : { alpha: 0.3, fade: 0.006 };
      view.clearTrails();
      onstate(`The points walk home in ${Live.plural(count, "step")}. Each step takes away some of the noise.`);
      const { schedule, x } = stage, draw = Live.generator(++stage.seed);
      let due = performance.now();
      for await (const state of Live.reverse({ model: stage.parted, schedule, rule, x, draw })) {
        if (!going(run)) return;
        if (state.step) {
          due = Math.max(due, performance.now() - 30) + pace;
          await glide(state, run, due, pace);
          if (stage.paused) stage.grants--;
        }
        while (going(run) && stage.paused && stage.grants <= 0 && state.t > 0) {
          await paint();
          due = performance.now();
        }
      }
      stage.home = stage.x;
    }

    // Out into noise, unless the points are there already, and home; again while after() says so.
    stage.start = async function ({ paused = false } = {}) {
      stage.stop();
      const run = stage.run;
      Object.assign(stage, { playing: true, paused, grants: paused ? 1 : 0 });
      do {
        stage.arrived = false;
        if (stage.t === 0) await scatter(run);
        if (going(run)) await walkHome(run);
        if (!going(run)) return;
        stage.arrived = true; // and so until the next round, or until somebody starts something
        onstate(HOME[settings.sampler === "naive" && settings.steps < T ? "naive" : settings.denoiser]);
        for (const end = performance.now() + SHOW; going(run) && after(true) && performance.now() < end; ) await paint();
      } while (going(run) && after(false));
      if (!going(run)) return;
      stage.playing = false;
      await paint();
      onstate();
    };

    // The data with the noise of level t.
    stage.noiseTo = function (t) {
      stage.stop();
      useHome();
      stage.noise = stage.noise || noise();
      [stage.t, stage.x] = [t, Live.noised(stage.schedule, stage.home, t, stage.noise)];
      view.clearTrails();
      onstate(t === 0 ? "The data, without noise." : "Data with noise. Press Play, and the points walk home.");
      stage.redraw();
    };

    // Fresh noise at the highest level, and home from there.
    stage.again = function ({ paused = false } = {}) {
      stage.stop();
      stage.noise = noise();
      [stage.t, stage.x] = [T, stage.noise];
      stage.start({ paused });
    };

    stage.pause = () => Object.assign(stage, { paused: true, grants: 0 });
    stage.resume = () => (stage.playing ? Object.assign(stage, { paused: false }) : stage.start());
    stage.step = function () {
      if (stage.playing && !stage.arrived) Object.assign(stage, { paused: true, grants: 1 });
      else if (stage.t === 0) stage.again({ paused: true });
      else stage.start({ paused: true });
    };
    return stage;
  };
})(globalThis.Live);
