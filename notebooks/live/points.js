// The live points: choose or draw data, noise them, and watch points walk home from pure noise.
//
//   <div data-live="points" data-data="moons" data-denoiser="exact" data-steps="40" data-autoplay="no"></div>
//
// Also: data-word, data-sampler, data-eta, data-schedule, data-points, data-field="yes", data-train-steps. Without
// data-autoplay="no" it plays by itself until somebody touches it: on that data, or on one set after the other.
// Scripts before this one, in any order: sampling.js, controls.js, points_model.js, points_weights.js,
// points_train.js, points_view.js, points_panel.js, points_stage.js. Look: live.css.
"use strict";

(function (Live) {
  const DATA_POINTS = 600, TOUR = ["letters", "moons", "spiral", "checkerboard"]; // until somebody touches it
  const cosine = Live.schedule("cosine", 1000);

  function build(place, options) {
    const settings = Live.pointSettings(options);
    let touring = options.autoplay !== "no" && !Live.calm(), trainer = null, seed = 1, typing = 0, drawing = 0;

    const training = () => trainer !== null && trainer.done < trainer.steps && settings.denoiser === "trained";
    const panel = Live.pointPanel(place, settings, {
      play: () => {
        if (stage.arrived) stage.start();
        else if (stage.playing && !stage.paused) stage.pause();
        else stage.resume();
        tell(stage.paused ? "Paused. Step takes one step." : undefined);
      },
      step: () => { stage.step(); tell(); },
      again: () => stage.again(),
      noise: (t) => stage.noiseTo(t),
      data: chooseData,
      word: (text) => {
        settings.word = text;
        clearTimeout(typing);
        typing = setTimeout(() => chooseData("letters"), 350);
      },
      clear: () => { stage.strokes = []; chooseData("draw"); },
      denoiser: chooseDenoiser,
      train: () => chooseDenoiser("trained"),
      setting: (changes) => {
        Object.assign(settings, changes);
        if (!stage.data) return update();
        prepare(true);
        stage.again();
      },
      look: (changes) => {
        Object.assign(settings, changes);
        stage.view.clearTrails();
        stage.redraw();
      },
    });
    const stage = Live.pointStage(panel.canvas, settings, {
      onpaint: ({ t, x, data }) => {
        panel.where.textContent = data ? `${Live.number(x.length / 2)} points at noise level ${Live.number(t)}` : "";
        panel.level.set(t);
      },
      onstate: tell,
      after: (looking) => {
        if (looking) return touring || training();
        if (touring) nextData();
        return touring || training();
      },
    });
    place.stage = stage; // for tests, and for the curious at the console
    stage.settings = settings;

    function tell(sentence) {
      panel.say.setAttribute("aria-live", touring ? "off" : "polite");
      if (sentence) panel.say.textContent = sentence;
      panel.play.textContent = stage.arrived ? "Play again" : stage.playing && !stage.paused ? "Pause" : "Play";
      const now = stage.data ? `${Live.plural(settings.points, "point")} at noise level ${stage.t} of 1,000. ` : "";
      panel.canvas.setAttribute("aria-label", `${panel.dataName()}. ${now}${panel.say.textContent}`);
    }

    function update() {
      panel.update({ drawn: stage.strokes.length > 0, empty: !stage.data });
    }

    // ---- Data and denoiser ------------------------------------------------------------------------------
    function makeData() {
      const draw = Live.generator(seed++);
      if (settings.data !== "draw") return Live.dataSets[settings.data](DATA_POINTS, draw, settings.word);
      return stage.strokes.length ? Live.alongStrokes(stage.strokes, DATA_POINTS, draw) : null;
    }

    // Give the stage its denoiser. stay: the points stay where they are.
    function prepare(stay = false) {
      const { data } = stage, schedule = Live.schedule(settings.schedule, 1000);
      let model = null;
      if (settings.denoiser === "learned") model = Live.learnedDenoiser(settings.data);
      if (settings.denoiser === "trained") model = trainer.model;
      if (model) model = Live.onSchedule(model, cosine, schedule);
      else model = Live.exactDenoiser(data, schedule);
      stage.use({ data, schedule, model }, stay);
      update();
    }

    function chooseData(name) {
      stage.stop();
      [drawing, typing].forEach(clearTimeout);
      settings.data = name;
      if (settings.denoiser === "learned" && !Live.learnedDenoiser(name)) settings.denoiser = "exact";
      stage.data = makeData();
      if (stage.data === null) {
        trainer = null;
        stage.t = 0;
        stage.view.clearTrails();
        update();
        tell("An empty sheet. Draw a line, a face, your name.");
        return stage.redraw();
      }
      if (settings.denoiser === "trained") return train();
      prepare();
      stage.start();
    }

    function nextData() {
      if (!options.data) settings.data = TOUR[(TOUR.indexOf(settings.data) + 1) % TOUR.length];
      const home = stage.x;
      stage.data = makeData();
      prepare();
      [stage.x, stage.home] = [home, home]; // the old points dissolve, and come back as something new
    }

    function chooseDenoiser(name) {
      settings.denoiser = name;
      if (name === "trained" && stage.data) return train();
      trainer = null;
      if (name === "learned" && !Live.learnedDenoiser(settings.data)) return chooseData("moons");
      if (!stage.data) return update();
      prepare();
      stage.again();
    }

    // ---- Training in the page ---------------------------------------------------------------------------
    async function train() {
      const mine = (trainer = Live.trainer(stage.data, cosine, { seed: seed++, steps: settings.trainSteps }));
      prepare();
      stage.again();
      for (let shown = 0; mine === trainer && training(); await stage.frame()) {
        const until = performance.now() + 9;
        do mine.step();
        while (performance.now() < until && training());
        if (mine.done - shown < 10 && training()) continue;
        shown = mine.done;
        showLoss(mine);
      }
      if (mine === trainer && settings.denoiser === "trained" && stage.playing && !stage.paused) stage.again();
    }

    function showLoss({ losses, done, steps, model }) {
      const recent = losses.slice(-50), loss = recent.reduce((sum, value) => sum + value, 0) / recent.length;
      const { view } = stage;
      Live.drawCurve(panel.curve, losses, steps, [view.colour("noise", 0.5), view.colour("model")]);
      panel.learned.textContent = `Step ${Live.number(done)} of ${Live.number(steps)}: the loss, the error of its `
        + `guesses, is ${loss.toFixed(2)} now and was ${losses[0].toFixed(2)}. The network has ${Live.number(model.numbers.length)} numbers.`;
    }

    // ---- Drawing by hand --------------------------------------------------------------------------------
    const { canvas } = panel;

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 0 || (event.pointerType === "touch" && settings.data !== "draw")) return; // that scrolls
      if (settings.data !== "draw") {
        settings.data = "draw";
        stage.strokes = [];
      }
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      stage.stop();
      clearTimeout(drawing);
      Object.assign(stage, { drawing: true, data: null, t: 0 });
      stage.view.clearTrails();
      stage.strokes.push([stage.view.toData(event)]);
      update();
      tell("Lift the pen when you are done; more lines may follow.");
      stage.redraw();
    });

    canvas.addEventListener("pointermove", (event) => {
      if (!stage.drawing) return;
      stage.strokes[stage.strokes.length - 1].push(stage.view.toData(event));
      stage.redraw();
    });

    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => {
        if (!stage.drawing) return;
        stage.drawing = false;
        drawing = setTimeout(() => chooseData("draw"), 600); // unless another line follows
      });
    }

    // ---- Begin ------------------------------------------------------------------------------------------
    const stopTour = () => (touring = false);
    for (const name of ["pointerdown", "keydown", "input"]) place.addEventListener(name, stopTour, { capture: true });
    stage.data = makeData();
    if (stage.data === null) {
      update();
      tell("Draw here, with mouse or finger.");
    } else if (settings.denoiser === "trained" && options.autoplay !== "no") {
      train();
    } else {
      if (settings.denoiser === "trained") settings.denoiser = "exact";
      if (settings.denoiser === "learned" && !Live.learnedDenoiser(settings.data)) settings.denoiser = "exact";
      prepare();
      tell("Press Play: the data dissolve in noise, and the points walk home.");
      stage.redraw();
      if (touring) stage.again();
    }
  }

  Live.mount("points", build);
})(globalThis.Live);
