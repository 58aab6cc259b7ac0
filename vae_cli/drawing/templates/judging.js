const cards = [...document.querySelectorAll(".card")];
let current = -1;

const markOf = (card) => card.querySelector("[type=radio]:checked")?.value;
const judged = cards.filter((card) => card.querySelector("[type=radio]"));

function count() {
  const number = (mark) => judged.filter((card) => markOf(card) === mark).length;
  $("counts").textContent = `${number("accept")} accepted, ${number("redo")} to be redone, ${number()} not marked`;
}

function goTo(number) {
  if (!cards[number]) return;
  cards[current]?.classList.remove("current");
  current = number;
  cards[number].classList.add("current");
}

/** To the next card, or the one before, that is shown and can be marked. */
function turn(by) {
  let number = current + by;
  while (cards[number] && (cards[number].hidden || !judged.includes(cards[number]))) number += by;
  goTo(number);
  cards[current]?.focus({ preventScroll: true });
  cards[current]?.scrollIntoView({ block: "start" });
}

function mark(value) {
  const card = cards[current];
  if (!judged.includes(card)) return;
  for (const radio of card.querySelectorAll("[type=radio]")) radio.checked = radio.value === value;
  unsaved = 1;
  count();
  if (value) turn(1);
}

function choose(card, number) {
  for (const after of card.querySelectorAll(".after")) after.hidden = Number(after.dataset.fill) !== number;
  for (const [other, button] of card.querySelectorAll(".fill").entries()) button.setAttribute("aria-pressed", other === number);
}

function filter() {
  const wanted = $("filter").value;
  for (const card of cards) {
    const own = judged.includes(card) ? markOf(card) ?? "open" : "failed";
    card.hidden = wanted !== "all" && wanted !== own;
  }
}

function toggleHoles() {
  $("holes").setAttribute("aria-pressed", document.body.classList.toggle("holes"));
}

function save() {
  const marks = judged.filter(markOf).map((card) => {
    const output = card.querySelector(".fill[aria-pressed=true]")?.dataset.output;
    return { input: card.dataset.input, mark: markOf(card), ...(output && { output }) };
  });
  download($("save").dataset.name, "application/json", [JSON.stringify(marks, null, 1), "\n"]);
  unsaved = 0;
}

addEventListener("input", ({ target }) => {
  if (target.matches(".slide")) target.parentElement.style.setProperty("--at", `${target.value}%`);
  if (target.matches("[type=radio]")) {
    unsaved = 1;
    count();
  }
});
addEventListener("focusin", ({ target }) => goTo(cards.indexOf(target.closest?.(".card"))));
addEventListener("click", ({ target }) => {
  const card = target.closest(".card");
  goTo(cards.indexOf(card));
  if (target.matches(".fill")) choose(card, [...card.querySelectorAll(".fill")].indexOf(target));
});
$("filter").addEventListener("change", filter);
$("holes").addEventListener("click", toggleHoles);
$("save").addEventListener("click", save);

const byKey = {
  n: () => turn(1), p: () => turn(-1), a: () => mark("accept"), r: () => mark("redo"), u: () => mark(), h: toggleHoles,
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  byKey[event.key.toLowerCase()]?.();
});
count();
