// Adds a divider to drag and a button to blink under each picture; without it the panels above say the same.
"use strict";
for (const exhibit of document.querySelectorAll(".exhibit")) {
  const panels = [...exhibit.querySelectorAll(".panel")];
  const make = (tag, parent, fields) => parent.appendChild(Object.assign(document.createElement(tag), fields));
  const box = make("div", exhibit, { className: "compare" });
  const labelled = (words, tag, fields) => make(tag, make("label", box, { textContent: words + " " }), fields);
  const choice = (words, names, chosen) => {
    const select = labelled(words, "select", {});
    names.forEach((name, index) => make("option", select, { textContent: name, value: index }));
    select.selectedIndex = chosen;
    return select;
  };
  const names = panels.map((panel) => panel.dataset.label);
  const left = choice("Left:", names, 1), right = choice("Right:", names, Math.min(2, names.length - 1));
  const zoom = choice("Zoom:", ["1x", "2x", "3x"], 1);
  const divider = labelled("Divider:", "input", { type: "range", min: 0, max: 100, value: 50 });
  const blink = make("button", box, { type: "button", textContent: "Blink" });
  const stage = make("div", make("div", box, {}), { className: "stage" });
  const below = make("img", stage, {}), above = make("img", stage, {});
  let timer = 0, hidden = false;
  const draw = () => {
    for (const [image, select] of [[below, left], [above, right]]) {
      const source = panels[select.selectedIndex].querySelector("img");
      image.src = source.src;
      image.alt = source.alt;
      image.width = source.getAttribute("width") * (zoom.selectedIndex + 1);
    }
    above.style.clipPath = timer ? (hidden ? "inset(100%)" : "none") : `inset(0 0 0 ${divider.value}%)`;
  };
  for (const control of [left, right, zoom, divider]) control.addEventListener("input", draw);
  stage.addEventListener("pointermove", (event) => {
    const edges = below.getBoundingClientRect();
    divider.value = (100 * (event.clientX - edges.left)) / edges.width;
    draw();
  });
  blink.addEventListener("click", () => {
    clearInterval(timer);
    timer = timer ? 0 : setInterval(() => { hidden = !hidden; draw(); }, 700);
    blink.setAttribute("aria-pressed", String(timer !== 0));
    draw();
  });
  draw();
}
