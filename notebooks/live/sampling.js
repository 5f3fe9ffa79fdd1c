// The course's sampling loop in JavaScript: the same formulas as helpers/schedule.py and helpers/sampling.py,
// tested to give the same points (tests/test_live_points.py). A classic script, so that it runs from a file too.
//
//   const draw = Live.generator(7), schedule = Live.schedule("cosine", 1000);
//   for await (const state of Live.reverse({ model, schedule, rule: Live.rules.ddim(50), x: draw(2 * n), draw }))
//     show(state.x);
//
// x is a flat Float32Array (points: x, y, x, y ..); level 0 is clean data, level T is noise; every array of a
// schedule has T + 1 entries. model(x, t) returns an array like x, or a promise of one, and has a property
// `prediction`: "eps", "x0" or "v".
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  // ---- Noise --------------------------------------------------------------------------------------------

  // draw(n): n standard normal numbers, always the same ones for one seed. data/experiments/live_noise.py is
  // the same in Python. Whole numbers from a counter that is stirred (mulberry32), pairs by Box-Muller.
  Live.generator = function (seed) {
    let counter = seed >>> 0;

    function uniform() {
      counter = (counter + 0x6d2b79f5) >>> 0;
      let z = counter;
      z = Math.imul(z ^ (z >>> 15), z | 1);
      z = (z ^ (z + Math.imul(z ^ (z >>> 7), z | 61))) >>> 0;
      return ((z ^ (z >>> 14)) >>> 0) / 4294967296 + 2 ** -33; // never 0, never 1
    }

    function draw(n) {
      const out = new Float32Array(n);
      for (let i = 0; i < n; i += 2) {
        const radius = Math.sqrt(-2 * Math.log(uniform())), angle = 2 * Math.PI * uniform();
        out[i] = radius * Math.cos(angle);
        if (i + 1 < n) out[i + 1] = radius * Math.sin(angle);
      }
      return out;
    }

    draw.uniform = uniform; // one number between 0 and 1
    return draw;
  };

  // ---- Schedules ----------------------------------------------------------------------------------------

  function fromBetas(betas, name) {
    const alphaBar = new Float64Array(betas.length);
    alphaBar[0] = 1;
    for (let t = 1; t < betas.length; t++) alphaBar[t] = alphaBar[t - 1] * (1 - betas[t]);
    return { name, T: betas.length - 1, betas, alphaBar };
  }

  function linear(T) {
    const scale = 1000 / T, betas = new Float64Array(T + 1);
    if (0.02 * scale >= 1) throw new RangeError("linear: take more than 20 levels, or the cosine schedule");
    for (let t = 1; t <= T; t++) betas[t] = (1e-4 + ((0.02 - 1e-4) * (t - 1)) / (T - 1)) * scale;
    return fromBetas(betas, "linear");
  }

  function cosine(T) {
    const curve = (t) => Math.cos((((t / T + 0.008) / 1.008) * Math.PI) / 2) ** 2;
    const betas = new Float64Array(T + 1);
    for (let t = 1; t <= T; t++) betas[t] = Math.min(1 - curve(t) / curve(t - 1), 0.999);
    return fromBetas(betas, "cosine");
  }

  Live.schedule = function (name, T = 1000) {
    if (name === "linear") return linear(T);
    if (name === "cosine") return cosine(T);
    throw new RangeError(`schedule is "linear" or "cosine", got ${name}`);
  };

  // a x + b y, entry by entry
  function mix(a, x, b, y) {
    const out = new Float32Array(x.length);
    for (let i = 0; i < out.length; i++) out[i] = a * x[i] + b * y[i];
    return out;
  }

  // Clean data to level t.
  Live.noised = function (schedule, x0, t, noise) {
    const a = schedule.alphaBar[t];
    return mix(Math.sqrt(a), x0, Math.sqrt(1 - a), noise);
  };

  // {eps, x0} that a network's output at x_t means. clip: keep x0 in -clip .. clip, and let eps follow.
  Live.toEpsX0 = function (schedule, output, x, t, prediction, clip = null) {
    const a = schedule.alphaBar[t], signal = Math.sqrt(a), sigma = Math.sqrt(1 - a);
    const impliedEps = (x0) => mix(1 / sigma, x, -signal / sigma, x0);
    let eps, x0;
    if (prediction === "eps") {
      eps = output;
      x0 = mix(1 / signal, x, -sigma / signal, eps);
    } else if (prediction === "x0") {
      x0 = output;
      eps = impliedEps(x0);
    } else if (prediction === "v") {
      eps = mix(signal, output, sigma, x);
      x0 = mix(signal, x, -sigma, output);
    } else {
      throw new RangeError(`model.prediction is "eps", "x0" or "v", got ${prediction}`);
    }
    if (clip !== null) {
      x0 = x0.map((value) => Math.max(-clip, Math.min(clip, value)));
      eps = impliedEps(x0);
    }
    return { eps, x0 };
  };

  // ---- Step rules: how to go from level t to level tNext ------------------------------------------------

  function halfToEven(value) {
    const below = Math.floor(value), rest = value - below;
    return rest === 0.5 ? below + (below % 2) : Math.round(value);
  }

  // `steps` of the levels T .. 1, falling in equal strides from T.
  Live.spaced = (steps) => (T) => {
    if (!(steps >= 1 && steps <= T)) throw new RangeError(`steps must lie in 1 .. ${T}, got ${steps}`);
    return Array.from({ length: steps }, (_, i) => halfToEven(T - i * (T / steps)));
  };

  // Mean and variance of the level below t, when x_t and x_0 are known.
  Live.posterior = function (schedule, x0, x, t) {
    const a = schedule.alphaBar[t], previous = schedule.alphaBar[t - 1], beta = schedule.betas[t];
    const toX0 = (Math.sqrt(previous) * beta) / (1 - a);
    const toX = (Math.sqrt(1 - beta) * (1 - previous)) / (1 - a);
    return { mean: mix(toX0, x0, toX, x), variance: (beta * (1 - previous)) / (1 - a) };
  };

  // The walk of the first paper: one level at a time, a little fresh noise after each.
  function ancestral(variance = "posterior") {
    return {
      name: `ancestral, ${variance} variance`,
      levels: (T) => Array.from({ length: T }, (_, i) => T - i),
      move(schedule, x, t, tNext, eps, x0, draw) {
        const towards = Live.posterior(schedule, x0, x, t);
        if (tNext === 0) return towards.mean;
        const spread = Math.sqrt(variance === "beta" ? schedule.betas[t] : towards.variance);
        return mix(1, towards.mean, spread, draw(x.length));
      },
    };
  }

  // The famous failure: leave levels out, but move as if the next one were asked.
  function naive(steps) {
    return { ...ancestral(), name: `naive skipping, ${steps} steps`, levels: Live.spaced(steps) };
  }

  // Leap from level to level along the estimate of x_0. eta: the share of fresh noise, 0 for none.
  function ddim(steps, eta = 0) {
    return {
      name: `DDIM, ${steps} steps, eta ${eta}`,
      levels: Live.spaced(steps),
      move(schedule, x, t, tNext, eps, x0, draw) {
        const a = schedule.alphaBar[t], next = schedule.alphaBar[tNext];
        const variance = ((eta ** 2 * (1 - next)) / (1 - a)) * (1 - a / next);
        const mean = mix(Math.sqrt(next), x0, Math.sqrt(Math.max(0, 1 - next - variance)), eps);
        return variance === 0 ? mean : mix(1, mean, Math.sqrt(variance), draw(x.length));
      },
    };
  }

  // DPM-Solver++(2M): a line through this estimate of x_0 and the one before. eta as in ddim.
  function dpmSolver(steps, eta = 0) {
    const lambda = (schedule, t) => 0.5 * Math.log(schedule.alphaBar[t] / (1 - schedule.alphaBar[t]));
    return {
      name: `DPM-Solver++(2M), ${steps} steps, eta ${eta}`,
      levels: Live.spaced(steps),
      move(schedule, x, t, tNext, eps, x0, draw, before) {
        if (tNext === 0) return x0;
        const a = schedule.alphaBar[t], next = schedule.alphaBar[tNext];
        const h = lambda(schedule, tNext) - lambda(schedule, t);
        if (before) {
          const r = (lambda(schedule, t) - lambda(schedule, before.t)) / h;
          x0 = mix(1 + 1 / (2 * r), x0, -1 / (2 * r), before.x0);
        }
        const kept = (eta ? Math.exp(-eta * h) : 1) * Math.sqrt((1 - next) / (1 - a));
        const mean = mix(kept, x, -Math.sqrt(next) * Math.expm1(-(1 + eta) * h), x0);
        if (eta === 0) return mean;
        return mix(1, mean, Math.sqrt((1 - next) * -Math.expm1(-2 * eta * h)), draw(x.length));
      },
    };
  }

  Live.rules = { ancestral, naive, ddim, dpmSolver };

  // ---- The reverse loop ---------------------------------------------------------------------------------

  // From noise x at level T to data: yields {step, t, x, x0} at the start (x0 null) and after every step.
  // draw: as Live.generator gives it; clip: as in toEpsX0.
  Live.reverse = async function* ({ model, schedule, rule, x, draw, clip = null }) {
    const levels = rule.levels(schedule.T);
    let before = null;
    yield { step: 0, t: levels[0], x, x0: null };
    for (let i = 0; i < levels.length; i++) {
      const t = levels[i], tNext = i + 1 < levels.length ? levels[i + 1] : 0;
      const output = await model(x, t);
      const { eps, x0 } = Live.toEpsX0(schedule, output, x, t, model.prediction, clip);
      x = rule.move(schedule, x, t, tNext, eps, x0, draw, before);
      before = { t, x0 };
      yield { step: i + 1, t: tNext, x, x0 };
    }
  };
})(globalThis.Live);
