// Pictures of 28 x 28 pixels: shown alone (Live.paint), many on a sheet (Live.sheet), as a film (Live.film), and
// drawn by the reader with mouse, finger or keyboard, who can also rub parts out (Live.pad).
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  const SIZE = 28, PEN = 1.25, RUBBER = 2.4; // radii in pixels
  const FILM = { frames: 26, digits: [3, 1, 4, 1, 5, 9, 2, 6], seconds: 4, hold: 1.6 }; // as live_digits.py makes it
  const HOLE = [213, 94, 0]; // the colour of what is rubbed out: the network's own in the course's figures
  // clumsy digits, as lines through (x, y)
  const EXAMPLES = {
    7: [[[8, 8], [19, 7], [19, 9], [15, 14], [13, 21]]],
    4: [[[9, 6], [9, 14], [19, 14]], [[17, 6], [17, 22]]],
    3: [[[9, 9], [13, 6], [17, 9], [12, 13], [18, 17], [14, 22], [9, 20]]],
    6: [[[17, 6], [10, 12], [9, 18], [13, 21], [18, 19], [18, 15], [14, 14], [10, 17]]],
  };

  // Paint one grey picture, values from -1 to 1, into a context at (left, top); hole: pixels shown in colour.
  Live.paint = function (context, picture, left = 0, top = 0, hole = null) {
    const image = context.createImageData(SIZE, SIZE);
    for (let i = 0; i < SIZE * SIZE; i++) {
      const grey = Math.max(0, Math.min(255, Math.round(127.5 * (picture[i] + 1))));
      const colour = hole && hole[i] ? HOLE : [grey, grey, grey];
      image.data.set([...colour, 255], 4 * i);
    }
    context.putImageData(image, left, top);
  };

  Live.picture = (width, height, label) =>
    Live.element("canvas", { width, height, role: "img", "aria-label": label });

  Live.figure = (caption, shown) =>
    Live.element("figure", { class: "digits-figure" }, Live.element("figcaption", {}, caption), shown);

  // What there is and what the network guesses, below each other. clear(count, most): empty, for so many moments
  // or digits, at most so many in a line; put(at, x, x0) shows one of them.
  Live.sheet = function () {
    const names = ["What there is", "What the network guesses"], CELL = SIZE + 1;
    const sheets = names.map((name) => Live.picture(SIZE, SIZE, name));
    const figures = sheets.map((sheet, i) => Live.figure(names[i], sheet));
    let across = 1;
    function clear(count, most = count) {
      across = Math.min(count, most);
      for (const sheet of sheets) {
        [sheet.width, sheet.height] = [across, Math.ceil(count / across)].map((many) => many * CELL - 1);
      }
    }
    function put(at, ...pictures) {
      const place = [(at % across) * CELL, Math.floor(at / across) * CELL];
      pictures.forEach((each, i) => each && Live.paint(sheets[i].getContext("2d"), each, ...place));
    }
    return { box: Live.element("div", { class: "digits-sheet" }, ...figures), clear, put };
  };

  // The recorded film, at `address`: {shown, controls, stop}.
  Live.film = function (address) {
    const wide = FILM.digits.length * SIZE, image = new Image();
    const shown = Live.picture(wide, 2 * SIZE, `The digits ${FILM.digits.join(" ")} appear out of noise.`);
    const slider = Live.slider({
      label: "From noise to digits",
      help: "Above: what there is. Below: what the network guesses. A recording; drag to look at one step.",
      min: 0,
      max: FILM.frames - 1,
      value: 0,
      ends: ["noise", "digits"],
      show: (frame) => `step ${Math.round((frame * 50) / (FILM.frames - 1))} of 50`,
      onchange: () => {
        stop();
        show();
      },
    });
    const play = Live.button("Play", () => (timer ? stop() : start()));
    const controls = Live.element("div", { class: "digits-row" }, play, slider);
    let timer = null;

    function show() {
      shown.getContext("2d").drawImage(image, 0, -2 * SIZE * slider.value);
    }
    function stop() {
      clearTimeout(timer);
      timer = null;
      play.textContent = "Play";
    }
    function start() {
      slider.set((slider.value + 1) % FILM.frames);
      show();
      const last = slider.value === FILM.frames - 1;
      timer = setTimeout(start, 1000 * (last ? FILM.hold : FILM.seconds / FILM.frames));
      play.textContent = "Pause";
    }
    image.onload = () => {
      slider.set(Live.calm() ? FILM.frames - 1 : 0);
      Live.calm() ? show() : start();
    };
    image.src = address;
    return { shown: Live.element("div", { class: "live-stage digits-film" }, shown), controls, stop };
  };

  // The distance of point (x, y) from the line between two points.
  function distance(x, y, [ax, ay], [bx, by]) {
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    const along = length ? Math.max(0, Math.min(1, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
    return Math.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay));
  }

  // Make a canvas drawable. changed(): told after every change. Returns {picture, hole, tool, ..}: picture holds
  // the pixels in -1 .. 1, hole is 1 where something was rubbed out, tool is "pen" or "rubber".
  Live.pad = function (canvas, changed = () => {}) {
    const context = canvas.getContext("2d");
    const picture = new Float32Array(SIZE * SIZE).fill(-1), hole = new Uint8Array(SIZE * SIZE);
    const pad = { picture, hole, tool: "pen", clear, take, example, rubOutHalf, line };
    let pen = [14, 14], down = false, keyed = false, shown = 0;

    function show() {
      Live.paint(context, picture, 0, 0, hole);
      if (!keyed) return;
      context.strokeStyle = down ? "#D55E00" : "#56B4E9";
      context.strokeRect(Math.floor(pen[0]) - 0.5, Math.floor(pen[1]) - 0.5, 2, 2);
    }

    function tell() {
      show();
      changed();
    }

    function line(from, to) {
      for (let i = 0; i < SIZE * SIZE; i++) {
        const far = distance((i % SIZE) + 0.5, Math.floor(i / SIZE) + 0.5, from, to);
        if (pad.tool === "rubber") {
          if (far < RUBBER) hole[i] = 1;
          continue;
        }
        const ink = Math.max(0, Math.min(1, PEN + 0.5 - far));
        picture[i] = Math.max(picture[i], 2 * ink - 1);
        if (ink > 0) hole[i] = 0;
      }
      tell();
    }

    function clear() {
      picture.fill(-1);
      hole.fill(0);
      tell();
    }

    function take(pixels) {
      picture.set(pixels.map((value) => Math.max(-1, Math.min(1, value))));
      hole.fill(0);
      tell();
    }

    // Draw the next of the examples; returns which digit it is meant to be.
    function example() {
      const tool = pad.tool, digit = [7, 4, 3, 6][shown++ % 4];
      clear();
      pad.tool = "pen";
      for (const stroke of EXAMPLES[digit]) {
        for (let i = 1; i < stroke.length; i++) line(stroke[i - 1], stroke[i]);
      }
      pad.tool = tool;
      return String(digit);
    }

    function rubOutHalf() {
      hole.fill(1, (SIZE * SIZE) / 2);
      tell();
    }

    function place(event) {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
    }

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      keyed = false;
      down = true;
      pen = place(event);
      line(pen, pen);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!down || keyed) return;
      for (const each of event.getCoalescedEvents?.() || [event]) {
        const next = place(each);
        line(pen, next);
        pen = next;
      }
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (down = keyed && down));

    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      const way = ways[event.key];
      if (!way && event.key !== " ") return;
      event.preventDefault(); // the page must not scroll
      if (!keyed) [keyed, down] = [true, false];
      const old = pen;
      if (way) pen = pen.map((value, i) => Math.max(1, Math.min(SIZE - 1, value + way[i])));
      else down = !down;
      down ? line(old, pen) : show();
    });
    canvas.addEventListener("blur", () => {
      keyed = down = false;
      show();
    });

    show();
    return pad;
  };
})(globalThis.Live);
