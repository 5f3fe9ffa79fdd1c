// Sliders without a kernel: they move through frames that were recorded when the notebook was executed.
//
// Mounts on <div class="live" data-live="slider">. In it stand an image, which holds all frames under each
// other and shows one of them, and a script of type application/json: {controls: [{name, kind, values,
// start}], alts}. The frames are in the order in which the last control changes fastest.
(function () {
  "use strict";
  const FEW = 6; // stops of a slider; fewer are a list to choose from
  let count = 0; // of sliders on this page, for the ids of their controls

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function rangeFor(control, id) {
    const last = control.values.length - 1;
    const input = make("input", { id, type: "range", min: 0, max: last, step: 1, value: control.start });
    const ticks = make("datalist", { id: `${id}-stops` }, ...control.values.map((_, i) => make("option", { value: i })));
    input.setAttribute("list", ticks.id);
    const shown = make("output", { htmlFor: id });
    const say = () => {
      const value = control.values[Number(input.value)];
      shown.textContent = value;
      input.setAttribute("aria-valuetext", value);
    };
    input.addEventListener("input", say);
    say();
    return { input, parts: [input, ticks, shown] };
  }

  function choiceFor(control, id) {
    const options = control.values.map((value, i) => make("option", { value: i, textContent: value }));
    const input = make("select", { id }, ...options);
    input.value = control.start;
    return { input, parts: [input] };
  }

  function mount(place) {
    const script = place.querySelector('script[type="application/json"]');
    const image = place.querySelector("img");
    if (!script || !image || place.dataset.mounted) return;
    place.dataset.mounted = "yes";
    const told = JSON.parse(script.textContent);
    const inputs = [];
    const box = make("div", { className: "slider-controls" });
    for (const control of told.controls) {
      const id = `slider-${(count += 1)}`;
      const listed = control.kind === "choice" || control.values.length < FEW;
      const { input, parts } = listed ? choiceFor(control, id) : rangeFor(control, id);
      input.addEventListener("input", show);
      inputs.push(input);
      box.append(make("label", { htmlFor: id, textContent: control.name }), make("div", {}, ...parts));
    }
    image.before(box);

    function show() {
      const at = told.controls.reduce((sum, c, i) => sum * c.values.length + Number(inputs[i].value), 0);
      image.style.objectPosition = `0 ${(100 * at) / Math.max(1, told.alts.length - 1)}%`;
      image.alt = told.alts[at];
    }
    show(); // a browser that comes back to a page keeps where its controls were
  }

  const mountAll = () => document.querySelectorAll('[data-live="slider"]').forEach(mount);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountAll);
  else mountAll();
})();
