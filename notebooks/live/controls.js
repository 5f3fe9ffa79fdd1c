// Labelled controls for the live parts: native inputs, each with a line that says what it does.
// Every maker returns its outer element with what a page needs on it: .input, .value, .set(value).
"use strict";

globalThis.Live = globalThis.Live || {};

(function (Live) {
  let count = 0;
  const nextId = () => `live-${++count}`;

  // element("div", { class: "live", onclick: .. }, child, "text" ..)
  Live.element = function (tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  };
  const element = Live.element;

  Live.button = (text, onclick, attributes = {}) =>
    element("button", { type: "button", class: "live-button", onclick, ...attributes }, text);

  function labelled(kind, label, help, input, output = null) {
    const id = nextId();
    input.id = id;
    const line = element("label", { for: id, class: "live-label" }, element("span", {}, label), output);
    const box = element("div", { class: `live-control live-${kind}` }, line, input);
    if (help) {
      input.setAttribute("aria-describedby", `${id}-help`);
      box.append(element("p", { class: "live-help", id: `${id}-help` }, help));
    }
    box.input = input;
    return box;
  }

  // A slider from min to max; show(value) is the text beside it, ends the words below its two ends.
  Live.slider = function ({ label, help, min, max, step = 1, value, ends = null, show = String, onchange }) {
    const input = element("input", { type: "range", min, max, step, value });
    const output = element("output", { class: "live-output" });
    const box = labelled("slider", label, help, input, output);
    if (ends) {
      const words = ends.map((word) => element("span", {}, word));
      input.after(element("div", { class: "live-ends", "aria-hidden": "true" }, ...words));
    }
    const tell = () => {
      output.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => {
      tell();
      onchange(Number(input.value));
    });
    Object.defineProperty(box, "value", { get: () => Number(input.value) });
    box.set = (to) => {
      input.value = to;
      tell();
    };
    box.tell = tell;
    tell();
    return box;
  };

  // choices: {value: text}
  Live.select = function ({ label, help, choices, value, onchange }) {
    const options = Object.entries(choices).map(([key, text]) => element("option", { value: key }, text));
    const input = element("select", {}, ...options);
    const box = labelled("select", label, help, input);
    input.value = value;
    input.addEventListener("change", () => onchange(input.value));
    Object.defineProperty(box, "value", { get: () => input.value });
    box.set = (to) => (input.value = to);
    return box;
  };

  Live.checkbox = function ({ label, help, value, onchange }) {
    const input = element("input", { type: "checkbox" });
    const box = labelled("checkbox", label, help, input);
    input.checked = value;
    input.addEventListener("change", () => onchange(input.checked));
    Object.defineProperty(box, "value", { get: () => input.checked });
    return box;
  };

  Live.textField = function ({ label, help, value, maxlength, onchange }) {
    const input = element("input", { type: "text", value, maxlength, autocomplete: "off", spellcheck: "false" });
    const box = labelled("text", label, help, input);
    input.addEventListener("input", () => onchange(input.value));
    Object.defineProperty(box, "value", { get: () => input.value });
    return box;
  };

  // A row of buttons of which one is pressed: radio buttons in a fieldset. choices: {value: text}
  Live.choice = function ({ label, choices, value, onchange }) {
    const name = nextId(), inputs = {};
    const box = element("fieldset", { class: "live-choice" }, element("legend", {}, label));
    for (const [key, text] of Object.entries(choices)) {
      const input = element("input", { type: "radio", name, value: key, id: `${name}-${key}` });
      input.checked = key === value;
      input.addEventListener("change", () => onchange(key));
      inputs[key] = input;
      box.append(element("span", {}, input, element("label", { for: input.id }, text)));
    }
    box.inputs = inputs;
    Object.defineProperty(box, "value", { get: () => Object.keys(inputs).find((key) => inputs[key].checked) });
    box.set = (key) => (inputs[key].checked = true);
    return box;
  };

  // Mount a live part wherever the page has <div data-live="name" data-...>; options are its data attributes.
  Live.mount = function (name, build) {
    const start = () => {
      for (const place of document.querySelectorAll(`[data-live="${name}"]`)) {
        if (place.dataset.mounted) continue;
        place.dataset.mounted = "yes";
        place.classList.add("live");
        place.replaceChildren();
        build(place, { ...place.dataset });
      }
    };
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  };

  Live.calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
})(globalThis.Live);
