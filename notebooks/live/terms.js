// Words of the glossary: <span class="term" data-definition="...">word</span> shows its definition on hover,
// on focus and on a tap; Escape, or a tap elsewhere, hides it.
(function () {
  "use strict";
  let tip = null;
  let owner = null;

  function hide() {
    if (!owner) return;
    owner.removeAttribute("aria-describedby");
    tip.hidden = true;
    owner = null;
  }

  function show(term) {
    if (!tip) {
      tip = document.createElement("div");
      Object.assign(tip, { id: "term-tip", className: "term-tip" });
      tip.setAttribute("role", "tooltip");
      document.body.append(tip);
    }
    hide();
    owner = term;
    tip.textContent = term.dataset.definition;
    tip.hidden = false;
    term.setAttribute("aria-describedby", tip.id);
    place();
  }

  function place() {
    if (!owner) return;
    const word = owner.getClientRects()[0];
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const left = Math.max(8, Math.min(word.left, room));
    const below = word.bottom + 6;
    const fits = below + tip.offsetHeight < window.innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${fits ? below : Math.max(4, word.top - tip.offsetHeight - 6)}px`;
  }

  const termOf = (event) => (event.target.closest ? event.target.closest(".term") : null);

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const term = termOf(event);
    if (term && term !== owner) show(term);
    else if (!term && owner && owner !== document.activeElement && !event.target.closest(".term-tip")) hide();
  });
  document.addEventListener("focusin", (event) => (termOf(event) ? show(termOf(event)) : hide()));
  document.addEventListener("focusout", hide);
  document.addEventListener("click", (event) => (termOf(event) ? show(termOf(event)) : hide()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (event.key === "Enter" && termOf(event)) show(termOf(event));
  });
  addEventListener("scroll", place, { passive: true });
  addEventListener("resize", place);
})();
