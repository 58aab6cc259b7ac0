/* Reads out all charts of a page at the step under the pointer, or where the arrow keys have moved to. */
"use strict";
const charts = [...document.querySelectorAll("figure.chart")].map((figure) => {
  const svg = figure.querySelector("svg"), outputs = figure.querySelectorAll("output");
  const lines = [...svg.querySelectorAll("polyline")].map((line, number) => ({
    line, dot: line.nextElementSibling, values: JSON.parse(line.dataset.values),
    output: outputs[number], rest: outputs[number].textContent,
  }));
  return { svg, lines, cursor: svg.querySelector(".cursor"), edges: JSON.parse(svg.dataset.edges), steps: JSON.parse(svg.dataset.steps) };
});
let current = null;

function nearest(values, step) {
  let best = 0;
  values.forEach(([at], number) => { if (Math.abs(at - step) < Math.abs(values[best][0] - step)) best = number; });
  return best;
}

function show(step) {
  current = step;
  for (const { svg, lines, cursor, edges, steps } of charts) {
    const x = edges[0] + (step - steps[0]) / (steps[1] - steps[0] || 1) * (edges[1] - edges[0]);
    cursor.toggleAttribute("hidden", step === null);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    for (const { line, dot, values, output, rest } of lines) {
      const within = step !== null && step >= values[0][0] && step <= values.at(-1)[0];
      dot.toggleAttribute("hidden", !within);
      output.textContent = rest;
      if (!within) continue;
      const number = nearest(values, step), point = line.points[number], [at, value] = values[number];
      dot.setAttribute("cx", point.x);
      dot.setAttribute("cy", point.y);
      output.textContent = `${value} at step ${at.toLocaleString("en")}`;
    }
  }
}

for (const { svg, edges, steps } of charts) {
  const pointed = (event) => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const share = Math.min(1, Math.max(0, (x - edges[0]) / (edges[1] - edges[0])));
    show(steps[0] + share * (steps[1] - steps[0]));
  };
  svg.addEventListener("pointermove", pointed);
  svg.addEventListener("pointerdown", pointed);
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(null); });
  svg.addEventListener("blur", () => show(null));
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    show(Math.min(steps[1], Math.max(steps[0], (current ?? steps[1]) + way * (steps[1] - steps[0]) / 50)));
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
