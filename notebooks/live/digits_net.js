// Live.digits: the class-conditional network of notebook 06 (digits.onnx), guidance, and what can be done with a
// picture that is there already. The walk itself is Live.reverse of sampling.js.
//
//   const network = await Live.digits.open({ folder, runtime, progress });
//   const model = network.guided([7], 2);   // one picture, a seven, scale 2
//   for await (const state of Live.reverse({ model, schedule: Live.digits.schedule, rule, x, draw, clip: 1 })) ..
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const PIXELS = 28 * 28, NO_LABEL = 10;

  // Start the network in a thread of its own. folder: address of digits_worker.js and digits.onnx; runtime: that
  // of onnxruntime-web; progress(loaded, total): told while they arrive, in bytes. Rejects when a file is missing.
  async function open({ folder, runtime, progress = () => {} }) {
    const worker = new Worker(`${folder}digits_worker.js`), waiting = new Map();
    let last = 0;
    worker.onmessage = ({ data }) => {
      if (data.loaded) return progress(data.loaded, data.total);
      const { resolve, reject } = waiting.get(data.id);
      waiting.delete(data.id);
      data.error ? reject(new Error(data.error)) : resolve(data.out);
    };
    const failed = new Promise((_, reject) => {
      worker.onerror = (event) => reject(new Error(event.message || "the network's thread could not start"));
    });
    const send = (message) => {
      const answer = new Promise((resolve, reject) => waiting.set(++last, { resolve, reject }));
      worker.postMessage({ id: last, ...message });
      return Promise.race([answer, failed]);
    };
    try {
      await send({ start: { runtime, network: `${folder}digits.onnx` } });
    } catch (error) {
      worker.terminate();
      throw error;
    }
    const ask = (x, t, y) => send({ x, t, y });
    return { ask, guided: (labels, scale) => guided(ask, labels, scale) };
  }

  // out = out_none + scale (out_label - out_none), for a model(x, t) of one label for each picture in x; both
  // halves are asked in one batch, as helpers/guidance.py does. 10 means no label: then there is nothing to guide.
  function guided(ask, labels, scale) {
    const none = labels.map(() => NO_LABEL);
    async function model(x, t) {
      if (scale === 1) return ask(x, t, labels);
      if (scale === 0 || labels.every((y) => y === NO_LABEL)) return ask(x, t, none);
      const both = new Float32Array(2 * x.length);
      both.set(x);
      both.set(x, x.length);
      const out = await ask(both, t, [...labels, ...none]), rest = out.subarray(x.length);
      return rest.map((value, i) => value + scale * (out[i] - value));
    }
    model.prediction = "v";
    return model;
  }

  // A rule that begins at `level` in place of T, with as many of its steps as fit: for a drawing noised to there.
  function startAt(rule, level) {
    return { ...rule, levels: () => rule.levels(level) };
  }

  // A rule that keeps what is known. After each step the known pixels are put back, with the noise of that level;
  // then the step is taken again from one level up, `repeats` times in all, until both parts agree.
  // picture: clean pixels; known: true where a pixel is to stay.
  function fillIn(rule, picture, known, repeats = 1) {
    let order = [];
    return {
      name: `${rule.name}, filling in`,
      levels(T) {
        order = rule.levels(T);
        return order.flatMap((t) => Array(repeats).fill(t));
      },
      move(schedule, x, t, tNext, eps, x0, draw, before) {
        const lower = tNext === t ? order[order.indexOf(t) + 1] || 0 : tNext;
        const earlier = before && before.t !== t ? before : null;
        const moved = rule.move(schedule, x, t, lower, eps, x0, draw, earlier);
        const there = Live.noised(schedule, picture, lower, draw(x.length));
        const merged = moved.map((value, i) => (known[i] ? there[i] : value));
        if (lower === tNext) return merged;
        const share = schedule.alphaBar[t] / schedule.alphaBar[lower], fresh = draw(x.length);
        return merged.map((value, i) => Math.sqrt(share) * value + Math.sqrt(1 - share) * fresh[i]);
      },
    };
  }

  // The samplers on offer: name -> rule of so many steps.
  const samplers = {
    fresh: (steps) => Live.rules.dpmSolver(steps, 1),
    dpm: (steps) => Live.rules.dpmSolver(steps),
    ddim: (steps) => Live.rules.ddim(steps),
  };

  Live.digits = { PIXELS, NO_LABEL, open, guided, startAt, fillIn, samplers, schedule: Live.schedule("cosine", 1000) };
})(globalThis.Live);
