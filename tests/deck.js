// What a deck looks like slide by slide; deck_page.py calls these on the slide that is shown.

// Elements beyond the viewport, and text wider than its box.
function beyond() {
  const found = [], r = Math.round;
  for (const el of Reveal.getCurrentSlide().querySelectorAll("*")) {
    if (el.closest("aside.notes, .anchor-link") || (el.closest("svg") && el.tagName !== "svg")) continue;
    const box = el.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const name = `${el.tagName.toLowerCase()} (${el.textContent.trim().slice(0, 40)})`;
    if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
      found.push(`${name} reaches from ${r(box.left)},${r(box.top)} to ${r(box.right)},${r(box.bottom)}`);
    else if (["PRE", "P", "LI", "TABLE", "H2"].includes(el.tagName) && el.scrollWidth > el.clientWidth + 2)
      found.push(`${name} holds text wider than itself`);
  }
  return found;
}

// Its figures: how large they are seen, and that over their natural size.
function figures() {
  return [...Reveal.getCurrentSlide().querySelectorAll("img")].map((img) => {
    const box = img.getBoundingClientRect();
    const sharp = img.naturalWidth / (img.getAttribute("width") || img.naturalWidth);  // 2 for screens with twice the pixels
    const scale = sharp * Math.min(box.width / img.naturalWidth, box.height / img.naturalHeight);
    const gif = img.src.startsWith("data:image/gif");
    return {scale, gif, alt: img.alt, width: scale * img.naturalWidth / sharp,
      height: scale * img.naturalHeight / sharp, cell: img.closest(".jp-Cell").id.replace("cell-id=", "")};
  });
}

function describe() {
  const slide = Reveal.getCurrentSlide();
  const prose = [...slide.querySelectorAll("h1, h2, p, li, td, th")].map((el) => el.innerText).join(" ");
  const title = slide.querySelector("h1, h2")?.firstChild.textContent ?? "";
  const printed = [...slide.querySelectorAll(".jp-RenderedText")].map((el) => el.innerText);
  return {title, printed, notes: Reveal.getSlideNotes() ?? "", words: slide.innerText.split(/\s+/).length,
          beyond: beyond(), figures: figures(), raw: (prose.match(/\$|\\\w+/g) ?? [])};
}
