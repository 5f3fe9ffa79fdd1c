// What pages need beside the theme: boxes that scroll by keyboard, and answers that open when a link leads there.
(function () {
  "use strict";
  // From the file system a browser fetches no other page, so the search shows titles without excerpts.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  const BOXES = "div.highlight pre, mjx-container, .pst-scrollable-table-container, .cell_output .output, .text_html";

  function makeReachable() {
    for (const box of document.querySelectorAll(BOXES)) {
      const wide = box.scrollWidth > box.clientWidth + 1;
      if (box.localName === "mjx-container") box.classList.toggle("wide", wide);
      if (wide) box.tabIndex = 0;
      else if (box.localName !== "pre") box.removeAttribute("tabindex");
    }
  }

  function openTarget() {
    let place = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!place) return;
    const target = place;
    for (; place; place = place.parentElement) if (place.localName === "details") place.open = true;
    target.scrollIntoView();
  }

  // the words on a fold say what it hides; the theme's labels would hide these from who listens
  for (const named of document.querySelectorAll("summary[aria-label], .search-button-field[aria-label]")) {
    named.removeAttribute("aria-label");
  }

  addEventListener("hashchange", openTarget);
  addEventListener("resize", makeReachable);
  document.addEventListener("toggle", makeReachable, true);
  addEventListener("load", () => {
    openTarget();
    const ready = globalThis.MathJax && MathJax.startup && MathJax.startup.promise;
    (ready || Promise.resolve()).then(makeReachable);
  });
})();
