// Trains a PointMLP in the page, on any points: the loop of helpers/training.py with its gradients by hand.
//
//   const trainer = Live.trainer(data, schedule, { seed: 1, steps: 3000 });
//   trainer.step();            // one batch: its loss
//   trainer.model              // what it has learned so far (the average of its weights over time)
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const CONFIG = { width: 48, depth: 2, features: 6, time_dim: 32, prediction: "v" };
  const BATCH = 128;

  // Gradients of y = W x + b for n examples, n a multiple of 4: adds to dW and db; puts dL/dx into dx, unless
  // nobody needs it.
  function linearBack(x, n, { W, inputs, outputs }, dy, grad, dx) {
    for (let o = 0; o < outputs; o++) {
      const w = o * inputs;
      for (let p = 0; p < n; p += 4) { // four examples at a time
        const at = p * outputs + o, row = p * inputs;
        const d0 = dy[at], d1 = dy[at + outputs], d2 = dy[at + 2 * outputs], d3 = dy[at + 3 * outputs];
        const x1 = row + inputs, x2 = x1 + inputs, x3 = x2 + inputs;
        grad.b[o] += d0 + d1 + d2 + d3;
        for (let i = 0; i < inputs; i++) {
          grad.W[w + i] += d0 * x[row + i] + d1 * x[x1 + i] + d2 * x[x2 + i] + d3 * x[x3 + i];
        }
      }
    }
    if (!dx) return;
    dx.fill(0);
    for (let p = 0; p < n; p++) {
      const row = p * inputs;
      for (let o = 0; o < outputs; o += 2) { // two outputs at a time
        const d0 = dy[p * outputs + o], d1 = dy[p * outputs + o + 1], w0 = o * inputs, w1 = w0 + inputs;
        for (let i = 0; i < inputs; i++) dx[row + i] += d0 * W[w0 + i] + d1 * W[w1 + i];
      }
    }
  }

  function silu(values, out) {
    for (let i = 0; i < values.length; i++) out[i] = Live.silu(values[i]);
    return out;
  }

  // dL/dvalues from dL/dsilu(values), in place
  function siluBack(values, d) {
    for (let i = 0; i < values.length; i++) {
      const gate = 1 / (1 + Math.exp(-values[i]));
      d[i] *= gate * (1 + values[i] * (1 - gate));
    }
    return d;
  }

  const add = (to, what) => what.forEach((value, i) => (to[i] += value));

  // Mean squared error of what the network says of points x with levels t; all its gradients go into `grads`.
  Live.pointLoss = function (config, layers, grads, x, t, target) {
    const n = x.length / 2, size = n * config.width, room = () => new Float32Array(size);
    const waves = new Float32Array(n * config.time_dim);
    for (let p = 0; p < n; p++) Live.levelFeatures(t[p], config.time_dim, waves, p * config.time_dim);
    const features = Live.pointFeatures(x, n, config.features);
    const timed = Live.linear(waves, n, layers.time, room()), level = silu(timed, room());
    const h = Live.linear(features, n, layers.enter, room()), kept = [];
    for (let k = 0; k < 2 * config.depth; k += 2) {
      const before = h.map((value, i) => value + level[i]), a = silu(before, room());
      const between = Live.linear(a, n, layers[`block${k}`], room()), b = silu(between, room());
      add(h, Live.linear(b, n, layers[`block${k + 1}`], room()));
      kept.push({ k, before, a, between, b });
    }
    const last = silu(h, room()), out = Live.linear(last, n, layers.leave, new Float32Array(2 * n));
    let loss = 0;
    const d = out.map((value, i) => {
      loss += (value - target[i]) ** 2 / out.length;
      return (2 * (value - target[i])) / out.length;
    });
    const dh = room(), dLevel = room();
    linearBack(last, n, layers.leave, d, grads.leave, dh);
    siluBack(h, dh);
    for (const { k, before, a, between, b } of kept.reverse()) {
      const db = room(), da = room();
      linearBack(b, n, layers[`block${k + 1}`], dh, grads[`block${k + 1}`], db);
      linearBack(a, n, layers[`block${k}`], siluBack(between, db), grads[`block${k}`], da);
      siluBack(before, da);
      add(dh, da);
      add(dLevel, da);
    }
    linearBack(features, n, layers.enter, dh, grads.enter, null);
    linearBack(waves, n, layers.time, siluBack(timed, dLevel), grads.time, null);
    return loss;
  };

  Live.trainer = function (data, schedule, { seed = 1, steps = 3000, config = CONFIG, peak = 5e-3 } = {}) {
    const draw = Live.generator(seed), { numbers, layers } = Live.pointLayers(config);
    const { numbers: gradient, layers: grads } = Live.pointLayers(config);
    for (const { W, b, inputs } of Object.values(layers)) {
      for (const part of [W, b]) part.forEach((_, i) => (part[i] = (2 * draw.uniform() - 1) / Math.sqrt(inputs)));
    }
    const model = Live.pointNetwork(config, numbers), average = model.numbers;
    const mean = new Float32Array(numbers.length), square = new Float32Array(numbers.length);
    const trainer = { model, steps, done: 0, losses: [], step };

    // Adam, with the learning rate up over 100 steps and down to zero over the last 60 percent.
    function update() {
      const k = ++trainer.done, rate = peak * Math.min(1, k / 100, Math.max(0, steps - k) / (0.6 * steps) + 0.01);
      const keep = Math.min(0.99, (1 + k) / (10 + k));
      for (let i = 0; i < numbers.length; i++) {
        mean[i] = 0.9 * mean[i] + 0.1 * gradient[i];
        square[i] = 0.99 * square[i] + 0.01 * gradient[i] * gradient[i];
        const scale = Math.sqrt(square[i] / (1 - 0.99 ** k)) + 1e-8;
        numbers[i] -= (rate * mean[i]) / (1 - 0.9 ** k) / scale;
        average[i] += (1 - keep) * (numbers[i] - average[i]);
      }
    }

    // One step: random points, levels and noise; predict v, which tells noise and data apart at every level
    // (helpers/schedule.py); move all numbers a little downhill.
    function step() {
      const n = BATCH, noise = draw(2 * n), t = new Int32Array(n);
      const x = new Float32Array(2 * n), v = new Float32Array(2 * n);
      for (let p = 0; p < n; p++) {
        const pick = Math.floor((draw.uniform() * data.length) / 2);
        t[p] = 1 + Math.floor(draw.uniform() * schedule.T);
        const signal = Math.sqrt(schedule.alphaBar[t[p]]), sigma = Math.sqrt(1 - schedule.alphaBar[t[p]]);
        for (let c = 0; c < 2; c++) {
          x[2 * p + c] = signal * data[2 * pick + c] + sigma * noise[2 * p + c];
          v[2 * p + c] = signal * noise[2 * p + c] - sigma * data[2 * pick + c];
        }
      }
      gradient.fill(0);
      const loss = Live.pointLoss(config, layers, grads, x, t, v);
      update();
      trainer.losses.push(loss);
      return loss;
    }

    return trainer;
  };
})(globalThis.Live);
