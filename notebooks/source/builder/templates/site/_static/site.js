// What pages need beside the theme: boxes that scroll by keyboard and say that there is more, answers that open when a
// link leads there, pictures shown large, and a bar on top that says where one is.
(function () {
  "use strict";
  // From the file system a browser fetches no other page, so the search shows titles without excerpts.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  const BOXES = "div.highlight pre, mjx-container, .pst-scrollable-table-container, .cell_output .output, .text_html";

  function makeReachable() {
    for (const box of document.querySelectorAll(BOXES)) {
      const formula = box.localName === "mjx-container", shown = box.hasAttribute("display");
      // what MathJax hides in a formula for those who listen makes it wider than it looks
      const width = formula && !shown ? box.querySelector("svg").getBoundingClientRect().width : box.scrollWidth;
      const wide = width > box.clientWidth + 1;
      if (formula) box.classList.toggle("wide", wide);
      const fades = box.matches(".cell_input pre") ? box.parentElement : formula && shown ? box : null;
      if (fades) {
        box.onscroll = () => fade(box, fades);
        fade(box, fades);
      }
      if (wide) box.tabIndex = 0;
      else if (box.localName !== "pre") box.removeAttribute("tabindex");
    }
  }

  // A comma stays on the line of its formula: a browser would break the line between the two.
  function keepSigns() {
    for (const formula of document.querySelectorAll(".bd-article span.math")) {
      const next = formula.nextSibling, sign = next && next.nodeType === 3 && /^[.,;:?!)]+/.exec(next.data);
      if (!sign || formula.getBoundingClientRect().width > 200) continue;
      const kept = document.createElement("span");
      kept.className = "kept";
      formula.before(kept);
      next.data = next.data.slice(sign[0].length);
      kept.append(formula, sign[0]);
    }
  }

  // A fade at the right edge, as long as there is more of the code or the formula to the right.
  function fade(box, shown) {
    shown.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 4);
  }

  // A figure has more pixels than the page shows: all of them. A GIF has no more: three times as large, in the window.
  function widthOf(small) {
    const [width, height] = [small.naturalWidth, small.naturalHeight], wide = innerWidth - 20;
    if (/\.gif$/.test(small.src) && width) return Math.min(3 * width, wide, ((innerHeight - 80) * width) / height);
    const least = Math.max(wide, Number(small.getAttribute("width")) || 0);
    return Math.min(least, width || least);
  }

  // A picture in its full size, above the page; Escape, a click or the button closes it.
  function enlarge(event) {
    const link = event.target.closest && event.target.closest("a.enlarge");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !globalThis.HTMLDialogElement) return;
    event.preventDefault();
    const small = link.querySelector("img"), large = new Image(), dialog = document.createElement("dialog");
    const close = document.createElement("button");
    Object.assign(large, { src: link.href, alt: small.alt });
    large.style.width = `${widthOf(small)}px`;
    Object.assign(close, { type: "button", textContent: "Close" });
    dialog.className = "large";
    dialog.setAttribute("aria-label", "The picture, large");
    dialog.append(close, large);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      link.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  // The bar on top: the notebook's number and the section that is read, and a line for how far one is.
  function showPlace() {
    const bar = document.querySelector(".bd-header-article"), title = document.querySelector(".bd-article h1");
    const start = bar && bar.querySelector(".header-article-items__start");
    if (!start || !title || !document.querySelector(".page-links")) return;
    const heads = [...document.querySelectorAll(".bd-article h2")], where = document.createElement("div");
    const line = document.createElement("div"), number = title.textContent.slice(0, 2);
    const words = (head) => [...head.childNodes].filter((node) => !/headerlink/.test(node.className)).map((node) => node.textContent).join("");
    let waiting = false;
    where.className = "page-where";
    line.className = "page-progress";
    start.append(where);
    bar.append(line);

    function show() {
      waiting = false;
      const now = heads.filter((head) => head.getBoundingClientRect().top < 120).pop();
      const past = title.getBoundingClientRect().bottom < 50;
      where.textContent = !past ? "" : now ? `${number} · ${words(now)}` : words(title);
      const far = document.documentElement.scrollHeight - innerHeight;
      line.style.transform = `scaleX(${far > 0 ? Math.min(1, scrollY / far) : 0})`;
    }

    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(show);
    }, { passive: true });
    addEventListener("resize", show);
    show();
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

  showPlace();
  addEventListener("click", enlarge);
  addEventListener("hashchange", openTarget);
  addEventListener("resize", makeReachable);
  document.addEventListener("toggle", makeReachable, true);
  addEventListener("load", () => {
    openTarget();
    const ready = globalThis.MathJax && MathJax.startup && MathJax.startup.promise;
    (ready || Promise.resolve()).then(() => {
      keepSigns();
      makeReachable();
    });
  });
})();
