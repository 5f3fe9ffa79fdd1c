// Points: data sets, and two denoisers, each a function model(x, t) with a property `prediction`:
// the exact one (an average over all data points, no training), and the course's PointMLP (helpers/models.py).
// Points are flat: Float32Array [x, y, x, y ..], most of them within -1 .. 1, y upwards.
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  // ---- Data ---------------------------------------------------------------------------------------------

  function fill(n, place) {
    const points = new Float32Array(2 * n);
    for (let i = 0; i < n; i++) points.set(place(i), 2 * i);
    return points;
  }

  // As helpers.data.moons: two half circles that reach into each other.
  function moons(n, draw) {
    const blur = draw(2 * n);
    return fill(n, (i) => {
      const angle = Math.PI * draw.uniform(), upper = i % 2 === 0;
      const x = upper ? Math.cos(angle) : 1 - Math.cos(angle);
      const y = upper ? Math.sin(angle) : 0.5 - Math.sin(angle);
      return [(x + 0.06 * blur[2 * i] - 0.5) / 1.5, (y + 0.06 * blur[2 * i + 1] - 0.25) / 1.5];
    });
  }

  // As helpers.data.checkerboard: the 8 dark squares of a 4x4 board.
  function checkerboard(n, draw) {
    return fill(n, () => {
      const square = Math.floor(8 * draw.uniform()), row = Math.floor(square / 2);
      const column = 2 * (square % 2) + (row % 2);
      return [(column + draw.uniform()) / 2 - 1, (row + draw.uniform()) / 2 - 1];
    });
  }

  function spiral(n, draw) {
    const blur = draw(2 * n);
    return fill(n, (i) => {
      const radius = Math.sqrt(draw.uniform()), angle = 3.5 * Math.PI * radius;
      const x = radius * Math.cos(angle), y = radius * Math.sin(angle);
      return [1.05 * x + 0.02 * blur[2 * i], 1.05 * y + 0.02 * blur[2 * i + 1]];
    });
  }

  // Points inside the letters of a word, written with the page's own font.
  function letters(n, draw, word = "hello") {
    const canvas = document.createElement("canvas"), size = 160;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const font = `800 ${size}px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif`;
    pen.font = font;
    const text = word.trim() || "?";
    canvas.width = Math.ceil(pen.measureText(text).width) + 20;
    canvas.height = 2 * size;
    pen.font = font;
    pen.fillText(text, 10, 1.3 * size);
    const alpha = pen.getImageData(0, 0, canvas.width, canvas.height).data, inked = [];
    let [left, right, top, bottom] = [Infinity, 0, Infinity, 0];
    for (let i = 0; i < alpha.length / 4; i++) {
      if (alpha[4 * i + 3] < 128) continue;
      const x = i % canvas.width, y = Math.floor(i / canvas.width);
      inked.push(i);
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
    const scale = Math.min(3.3 / (right - left), 2.1 / (bottom - top));
    return fill(n, () => {
      const i = inked[Math.floor(draw.uniform() * inked.length)];
      const x = (i % canvas.width) + draw.uniform(), y = Math.floor(i / canvas.width) + draw.uniform();
      return [(x - (left + right) / 2) * scale, ((top + bottom) / 2 - y) * scale];
    });
  }

  Live.dataSets = { moons, checkerboard, spiral, letters };

  // n points along what somebody drew. strokes: [[[x, y], [x, y] ..], ..]
  Live.alongStrokes = function (strokes, n, draw, width = 0.02) {
    const pieces = [];
    let total = 0;
    for (const stroke of strokes) {
      stroke.forEach((to, i) => {
        const from = stroke[Math.max(0, i - 1)];
        const length = Math.hypot(to[0] - from[0], to[1] - from[1]) + (i ? 0 : 0.03);
        pieces.push({ from, to, start: total, length });
        total += length;
      });
    }
    const blur = draw(2 * n);
    return fill(n, (i) => {
      const at = draw.uniform() * total;
      const piece = pieces.find((p) => at < p.start + p.length) || pieces[pieces.length - 1];
      const share = (at - piece.start) / piece.length;
      return [0, 1].map((k) => piece.from[k] + share * (piece.to[k] - piece.from[k]) + width * blur[2 * i + k]);
    });
  };

  // ---- The exact denoiser -------------------------------------------------------------------------------

  // The best possible guess of x_0: all data points, averaged, each weighted by how likely it has become x_t.
  Live.exactDenoiser = function (data, schedule) {
    const n = data.length / 2, distance = new Float64Array(n);
    function model(x, t) {
      const signal = Math.sqrt(schedule.alphaBar[t]), sharpness = 0.5 / (1 - schedule.alphaBar[t]);
      const out = new Float32Array(x.length);
      for (let k = 0; k < x.length; k += 2) {
        let nearest = Infinity, sum = 0, sumX = 0, sumY = 0;
        for (let i = 0; i < n; i++) {
          const dx = x[k] - signal * data[2 * i], dy = x[k + 1] - signal * data[2 * i + 1];
          distance[i] = dx * dx + dy * dy;
          if (distance[i] < nearest) nearest = distance[i];
        }
        for (let i = 0; i < n; i++) {
          const away = (distance[i] - nearest) * sharpness;
          if (away > 24) continue; // exp(-24) of the nearest one's weight: nothing
          const weight = Math.exp(-away);
          sum += weight;
          sumX += weight * data[2 * i];
          sumY += weight * data[2 * i + 1];
        }
        out[k] = sumX / sum;
        out[k + 1] = sumY / sum;
      }
      return out;
    }
    model.prediction = "x0";
    return model;
  };

  // ---- The network: helpers.models.PointMLP -------------------------------------------------------------

  // y = W x + b for a batch of n, two rows and two outputs at a time (an even number of each).
  Live.linear = function (x, n, { W, b, inputs, outputs }, y) {
    for (let p = 0; p < n; p += 2) {
      const x0 = p * inputs, x1 = p + 1 < n ? x0 + inputs : x0;
      for (let o = 0; o < outputs; o += 2) {
        const w0 = o * inputs, w1 = w0 + inputs;
        let s00 = b[o], s01 = b[o + 1], s10 = s00, s11 = s01;
        for (let i = 0; i < inputs; i++) {
          const wa = W[w0 + i], wb = W[w1 + i], xa = x[x0 + i], xb = x[x1 + i];
          s00 += wa * xa;
          s01 += wb * xa;
          s10 += wa * xb;
          s11 += wb * xb;
        }
        y[p * outputs + o] = s00;
        y[p * outputs + o + 1] = s01;
        if (p + 1 === n) continue;
        y[(p + 1) * outputs + o] = s10;
        y[(p + 1) * outputs + o + 1] = s11;
      }
    }
    return y;
  };

  // What the first layers read: a point as itself and its waves, and a level as its waves.
  Live.pointFeatures = function (x, n, count) {
    const width = 2 + 4 * count, out = new Float32Array(n * width);
    for (let p = 0; p < n; p++) {
      const row = p * width;
      for (let c = 0; c < 2; c++) {
        out[row + c] = x[2 * p + c];
        for (let f = 0; f < count; f++) {
          const angle = (x[2 * p + c] * (f + 1) * Math.PI) / 2;
          out[row + 2 + c * count + f] = Math.sin(angle);
          out[row + 2 + (2 + c) * count + f] = Math.cos(angle);
        }
      }
    }
    return out;
  };

  Live.levelFeatures = function (t, dim, out = new Float32Array(dim), at = 0) {
    for (let i = 0; i < dim / 2; i++) {
      const angle = t * Math.exp((-Math.log(10000) * i) / (dim / 2));
      out[at + i] = Math.sin(angle);
      out[at + dim / 2 + i] = Math.cos(angle);
    }
    return out;
  };

  Live.silu = (value) => value / (1 + Math.exp(-value));

  // Layers with room for their numbers in one flat array, in the order of PyTorch's state dict.
  Live.pointLayers = function ({ width, depth, features, time_dim }) {
    const shapes = { enter: [2 + 4 * features, width], time: [time_dim, width] };
    for (let i = 0; i < 2 * depth; i++) shapes[`block${i}`] = [width, width];
    shapes.leave = [width, 2];
    const count = Object.values(shapes).reduce((sum, [i, o]) => sum + i * o + o, 0);
    const numbers = new Float32Array(count), layers = {};
    let at = 0;
    for (const [name, [inputs, outputs]] of Object.entries(shapes)) {
      const W = numbers.subarray(at, (at += inputs * outputs)), b = numbers.subarray(at, (at += outputs));
      layers[name] = { W, b, inputs, outputs };
    }
    return { numbers, layers };
  };

  Live.pointNetwork = function (config, numbers) {
    const { numbers: room, layers } = Live.pointLayers(config), width = config.width;
    room.set(numbers);
    function model(x, t) {
      const n = x.length / 2, size = n * width;
      const level = Live.linear(Live.levelFeatures(t, config.time_dim), 1, layers.time, new Float32Array(width));
      for (let i = 0; i < width; i++) level[i] = Live.silu(level[i]);
      const h = new Float32Array(size), a = new Float32Array(size), b = new Float32Array(size);
      Live.linear(Live.pointFeatures(x, n, config.features), n, layers.enter, h);
      for (let k = 0; k < 2 * config.depth; k += 2) {
        for (let i = 0; i < size; i++) a[i] = Live.silu(h[i] + level[i % width]);
        Live.linear(a, n, layers[`block${k}`], b);
        for (let i = 0; i < size; i++) b[i] = Live.silu(b[i]);
        Live.linear(b, n, layers[`block${k + 1}`], a);
        for (let i = 0; i < size; i++) h[i] += a[i];
      }
      for (let i = 0; i < size; i++) a[i] = Live.silu(h[i]);
      return Live.linear(a, n, layers.leave, new Float32Array(2 * n));
    }
    model.prediction = config.prediction || "eps";
    model.numbers = room;
    return model;
  };

  // Half-precision numbers from base64.
  Live.unpackHalf = function (text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const halves = new DataView(bytes.buffer), out = new Float32Array(bytes.length / 2);
    for (let i = 0; i < out.length; i++) {
      const bits = halves.getUint16(2 * i, true), exponent = (bits >> 10) & 31, rest = bits & 1023;
      const size = exponent ? (1 + rest / 1024) * 2 ** (exponent - 15) : rest * 2 ** -24;
      out[i] = bits >> 15 ? -size : size;
    }
    return out;
  };

  // The course's network for a data set of points_weights.js; undefined for others.
  const ready = {};
  Live.learnedDenoiser = function (name) {
    const shipped = Live.pointWeights && Live.pointWeights.networks[name];
    if (shipped && !ready[name]) {
      ready[name] = Live.pointNetwork(Live.pointWeights.config, Live.unpackHalf(shipped.weights));
    }
    return ready[name];
  };

  // A model that works through its points in parts and gives the page a breath in between: no frame is lost.
  Live.inParts = function (model, size, pause) {
    async function parted(x, t) {
      if (x.length <= 2 * size) return model(x, t);
      const out = new Float32Array(x.length);
      for (let at = 0; at < x.length; at += 2 * size) {
        out.set(model(x.subarray(at, at + 2 * size), t), at);
        await pause();
      }
      return out;
    }
    parted.prediction = model.prediction;
    return parted;
  };
})(globalThis.Live);
