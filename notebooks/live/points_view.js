// Draws points, trails, data and arrows on a canvas that follows its size, the screen's sharpness and the
// page's colours (live.css, light and dark). Data coordinates: x to the right, y upwards, 0 in the middle.
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const NAMES = ["data", "model", "noise", "exact", "ink"];

  function readColours(canvas) {
    const style = getComputedStyle(canvas), pixel = document.createElement("canvas").getContext("2d");
    const colours = {};
    for (const name of NAMES) {
      pixel.fillStyle = style.getPropertyValue(`--live-${name}`).trim() || "#777";
      const hex = pixel.fillStyle; // always #rrggbb for opaque colours
      colours[name] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    }
    return colours;
  }

  const css = (rgb, alpha) => `rgba(${rgb.map(Math.round).join(",")},${alpha})`;
  const between = (a, b, share) => a.map((value, i) => value + share * (b[i] - value));

  // halfWidth, halfHeight: what must be seen at least, in data coordinates.
  Live.pointView = function (canvas, { halfWidth = 1.85, halfHeight = 1.3, onchange = () => {} } = {}) {
    const pen = canvas.getContext("2d"), trails = document.createElement("canvas"), trailPen = trails.getContext("2d");
    const view = { width: 0, height: 0, scale: 1, colours: readColours(canvas) };

    const pageX = (x) => view.width / 2 + x * view.scale;
    const pageY = (y) => view.height / 2 - y * view.scale;

    view.fit = function () {
      const box = canvas.getBoundingClientRect(), sharp = Math.min(2, globalThis.devicePixelRatio || 1);
      if (!box.width || !box.height) return;
      [view.width, view.height] = [box.width, box.height];
      view.scale = Math.min(box.width / 2 / halfWidth, box.height / 2 / halfHeight);
      view.dot = Math.max(1.3, Math.min(2.4, view.scale / 75));
      for (const one of [canvas, trails]) {
        one.width = Math.round(box.width * sharp);
        one.height = Math.round(box.height * sharp);
        one.getContext("2d").setTransform(sharp, 0, 0, sharp, 0, 0);
      }
      onchange();
    };

    // Data coordinates of a pointer event.
    view.toData = function (event) {
      const box = canvas.getBoundingClientRect();
      const x = event.clientX - box.left - view.width / 2, y = view.height / 2 - (event.clientY - box.top);
      return [x / view.scale, y / view.scale];
    };

    // How many of these points lie beside the picture.
    view.beyond = function (points) {
      const wide = view.width / 2 / view.scale, high = view.height / 2 / view.scale;
      let count = 0;
      for (let i = 0; i < points.length; i += 2) count += !(Math.abs(points[i]) <= wide && Math.abs(points[i + 1]) <= high);
      return count;
    };

    view.clear = () => pen.clearRect(0, 0, view.width, view.height);
    view.clearTrails = () => trailPen.clearRect(0, 0, view.width, view.height);
    // Colour between that of noise (share 0) and that of what the model made (share 1).
    view.tint = (share, alpha) => css(between(view.colours.noise, view.colours.model, share), alpha);
    view.colour = (name, alpha = 1) => css(view.colours[name], alpha);

    view.dots = function (points, colour, radius = view.dot) {
      pen.fillStyle = colour;
      pen.beginPath();
      for (let i = 0; i < points.length; i += 2) {
        const x = pageX(points[i]), y = pageY(points[i + 1]);
        pen.moveTo(x + radius, y);
        pen.arc(x, y, radius, 0, 7);
      }
      pen.fill();
    };

    // Add the way from one set of points to the next to the trails.
    view.addTrail = function (from, to, colour) {
      trailPen.strokeStyle = colour;
      trailPen.lineWidth = 0.8;
      trailPen.beginPath();
      for (let i = 0; i < from.length; i += 2) {
        trailPen.moveTo(pageX(from[i]), pageY(from[i + 1]));
        trailPen.lineTo(pageX(to[i]), pageY(to[i + 1]));
      }
      trailPen.stroke();
    };

    view.fadeTrails = function (share) {
      trailPen.globalCompositeOperation = "destination-out";
      trailPen.fillStyle = `rgba(0,0,0,${share})`;
      trailPen.fillRect(0, 0, view.width, view.height);
      trailPen.globalCompositeOperation = "source-over";
    };

    view.trails = () => pen.drawImage(trails, 0, 0, view.width, view.height);

    // Places (flat) for a field of arrows all over the canvas.
    view.grid = function (across = 26) {
      const gap = (view.width + view.height) / 1.6 / across, places = [];
      for (let y = gap / 2; y < view.height; y += gap) {
        for (let x = gap / 2; x < view.width; x += gap) {
          places.push((x - view.width / 2) / view.scale, (view.height / 2 - y) / view.scale);
        }
      }
      view.gap = gap;
      return Float32Array.from(places);
    };

    // An arrow at each place along its direction; long ones are drawn a little longer only.
    view.arrows = function (places, directions, colour) {
      pen.strokeStyle = colour;
      pen.lineWidth = 1.1;
      pen.beginPath();
      for (let i = 0; i < places.length; i += 2) {
        const size = Math.hypot(directions[i], directions[i + 1]) || 1;
        const length = view.gap * 0.72 * Math.tanh(0.35 + size / 3);
        const ux = directions[i] / size, uy = -directions[i + 1] / size;
        const x = pageX(places[i]) - (ux * length) / 2, y = pageY(places[i + 1]) - (uy * length) / 2;
        const tipX = x + ux * length, tipY = y + uy * length, barb = 3.2;
        pen.moveTo(x, y);
        pen.lineTo(tipX, tipY);
        pen.moveTo(tipX - barb * (ux - 0.6 * uy), tipY - barb * (uy + 0.6 * ux));
        pen.lineTo(tipX, tipY);
        pen.lineTo(tipX - barb * (ux + 0.6 * uy), tipY - barb * (uy - 0.6 * ux));
      }
      pen.stroke();
    };

    view.line = function (stroke, colour, width) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.lineCap = pen.lineJoin = "round";
      pen.beginPath();
      stroke.forEach(([x, y], i) => (i ? pen.lineTo(pageX(x), pageY(y)) : pen.moveTo(pageX(x), pageY(y))));
      if (stroke.length === 1) pen.lineTo(pageX(stroke[0][0]) + 0.1, pageY(stroke[0][1]));
      pen.stroke();
    };

    const recolour = () => {
      view.colours = readColours(canvas);
      onchange();
    };
    new ResizeObserver(view.fit).observe(canvas);
    new MutationObserver(recolour).observe(document.documentElement, { attributeFilter: ["data-theme", "class"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    view.fit();
    return view;
  };

  // What the colours mean.
  Live.pointKey = function () {
    const spot = (name) => Live.element("i", { class: `live-is-${name}` });
    return Live.element("div", { class: "live-key" }, Live.element("span", {}, spot("data"), "the data"),
      Live.element("span", {}, spot("noise"), spot("model"), "points that walk: grey in noise, orange at home"));
  };

  // A curve of numbers on a small canvas, with their smoothed mean.
  Live.drawCurve = function (canvas, values, total, colours) {
    const pen = canvas.getContext("2d"), box = canvas.getBoundingClientRect(), sharp = globalThis.devicePixelRatio || 1;
    canvas.width = box.width * sharp;
    canvas.height = box.height * sharp;
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    if (!values.length) return;
    const top = Math.max(1, ...values.slice(0, 20)), window = 40, smooth = [];
    let sum = 0;
    values.forEach((value, i) => {
      sum += value - (i >= window ? values[i - window] : 0);
      smooth.push(sum / Math.min(i + 1, window));
    });
    for (const [line, colour, width] of [[values, colours[0], 0.7], [smooth, colours[1], 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      const stride = Math.max(1, Math.floor(line.length / box.width));
      for (let i = 0; i < line.length; i += stride) {
        pen.lineTo((i / Math.max(1, total - 1)) * box.width, box.height * (1 - line[i] / top) * 0.94 + 2);
      }
      pen.stroke();
    }
  };

  // A promise of the next frame in which `place` can be seen: what runs on it rests off the screen.
  Live.frames = function (place) {
    let visible = true, waiting = [];
    const frame = () => new Promise((done) => (visible ? requestAnimationFrame(done) : waiting.push(done)));
    new IntersectionObserver((entries) => {
      visible = entries[entries.length - 1].isIntersecting;
      if (visible) waiting.splice(0).forEach((done) => requestAnimationFrame(done));
    }).observe(place);
    return frame;
  };
})(globalThis.Live);
