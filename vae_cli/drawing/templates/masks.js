/* The page's state: pictures, the one that is shown with its mask, strokes to undo, and the view. */

const MOST_UNDO_BYTES = 64e6, LARGEST_SCALE = 64;
const COLOUR = 0x963c28eb; // of the mask, as alpha, blue, green, red
const pictures = [...document.querySelectorAll("script.picture")].map((node) => ({
  node, name: node.dataset.name, file: node.dataset.file, note: node.dataset.note, isUnsaved: false,
  width: Number(node.dataset.width), height: Number(node.dataset.height),
  kept: node.dataset.mask ? bytesOf(node.dataset.mask) : null,
}));
const stage = $("stage"), below = $("below").getContext("2d"), above = $("above").getContext("2d");
const view = { scale: 1, x: 0, y: 0 }; // screen pixels of an image pixel, and where its corner is, screen pixels
const pointers = new Map();
let current = null, image = null, mask = null, wanted = 0, isOpening = false;
let tool = "brush", brush = 20, isShown = true, isSpace = false; // brush: its diameter, image pixels
let stroke = null, lastPoint = null, cursor = null, done = [], undone = [], cells = null;

/** One byte a pixel (1 = hole, 2 = changed by the stroke that goes on), and halved copies to draw it small, in which a
    pixel is hole where any of its four is, so that the thinnest scratch shows. */
class Mask {
  constructor(width, height) {
    this.levels = [];
    for (let w = width, h = height; ; w = (w + 1) >> 1, h = (h + 1) >> 1) {
      this.levels.push({ w, h, data: new Uint8Array(w * h) });
      if (w <= 1 && h <= 1) return;
    }
  }

  /** After a change in a box of pixels, its ends excluded. */
  refresh({ left, top, right, bottom }) {
    for (let k = 1; k < this.levels.length; k++) {
      const fine = this.levels[k - 1], { w, data } = this.levels[k];
      [left, top, right, bottom] = [left >> 1, top >> 1, (right + 1) >> 1, (bottom + 1) >> 1];
      for (let y = top; y < bottom; y++)
        for (let x = left; x < right; x++) {
          const at = 2 * y * fine.w + 2 * x, isWide = 2 * x + 1 < fine.w;
          let any = fine.data[at] | (isWide ? fine.data[at + 1] : 0);
          if (2 * y + 1 < fine.h) any |= fine.data[at + fine.w] | (isWide ? fine.data[at + fine.w + 1] : 0);
          data[y * w + x] = any & 1;
        }
    }
  }
}

const whole = () => ({ left: 0, top: 0, right: current.width, bottom: current.height });

/** Paint from point to point: every pixel whose middle is no farther from the line than half the brush. */
function paint(from, to) {
  const { width, height } = current, { data } = mask.levels[0], value = tool === "brush" ? 1 : 0;
  const radius = Math.max(brush / 2, Math.SQRT1_2), dx = to.x - from.x, dy = to.y - from.y, length = dx * dx + dy * dy;
  const box = {
    left: Math.max(0, Math.floor(Math.min(from.x, to.x) - radius)),
    top: Math.max(0, Math.floor(Math.min(from.y, to.y) - radius)),
    right: Math.min(width, Math.ceil(Math.max(from.x, to.x) + radius)),
    bottom: Math.min(height, Math.ceil(Math.max(from.y, to.y) + radius)),
  };
  for (let y = box.top; y < box.bottom; y++)
    for (let x = box.left, i = y * width + x; x < box.right; x++, i++) {
      const px = x + 0.5 - from.x, py = y + 0.5 - from.y;
      const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
      const isNear = (px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius;
      if (isNear && (data[i] & 1) !== value) data[i] = value | (2 ^ (data[i] & 2));
    }
  if (box.right <= box.left || box.bottom <= box.top) return;
  mask.refresh(box);
  for (const [side, pick] of [["left", Math.min], ["top", Math.min], ["right", Math.max], ["bottom", Math.max]])
    stroke[side] = pick(stroke[side], box[side]);
}

const newStroke = () => ({ picture: current, left: Infinity, top: Infinity, right: 0, bottom: 0 });

/** End the stroke; what it changed, one bit a pixel of its box, is kept in it. */
function finishStroke() {
  const ended = stroke, { data } = mask.levels[0], { left, top, right, bottom } = ended;
  stroke = null;
  if (left >= right) return null;
  ended.bits = new Uint8Array(((right - left) * (bottom - top) + 7) >> 3);
  for (let y = top, n = 0; y < bottom; y++)
    for (let x = left, i = y * current.width + x; x < right; x++, i++, n++)
      if (data[i] & 2) {
        ended.bits[n >> 3] |= 1 << (n & 7);
        data[i] &= 1;
      }
  return ended.bits.some(Boolean) ? ended : null;
}

function keepStroke() {
  const ended = finishStroke();
  if (!ended) return;
  done.push(ended);
  undone = undone.filter((other) => other.picture !== current);
  while (done.reduce((sum, { bits }) => sum + bits.length, 0) > MOST_UNDO_BYTES) done.shift();
  changed();
}

function flip({ left, top, right, bottom, bits }) {
  const { data } = mask.levels[0];
  for (let y = top, n = 0; y < bottom; y++)
    for (let x = left, i = y * current.width + x; x < right; x++, i++, n++)
      if ((bits[n >> 3] >> (n & 7)) & 1) data[i] ^= 1;
  mask.refresh({ left, top, right, bottom });
}

/** Undo, or redo, the last stroke of this picture. */
function step(source, target) {
  const at = source.findLastIndex((other) => other.picture === current);
  if (at < 0 || stroke || !mask) return;
  const [found] = source.splice(at, 1);
  flip(found);
  target.push(found);
  changed();
}

function clearMask() {
  if (!mask || stroke) return;
  const { data } = mask.levels[0];
  stroke = Object.assign(newStroke(), whole());
  for (let i = 0; i < data.length; i++) if (data[i]) data[i] = 2;
  mask.refresh(whole());
  keepStroke();
}

function changed() {
  if (!current.isUnsaved) unsaved++;
  current.isUnsaved = true;
  show();
}

/* Drawing, at most once a frame. */

let isDue = false;
function show() {
  if (!isDue) requestAnimationFrame(draw);
  isDue = true;
}

function draw() {
  isDue = false;
  const { width, height } = above.canvas;
  below.setTransform(1, 0, 0, 1, 0, 0);
  below.clearRect(0, 0, width, height);
  above.clearRect(0, 0, width, height);
  if (!mask) return;
  below.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
  below.imageSmoothingEnabled = view.scale < 3;
  below.imageSmoothingQuality = "high";
  below.fillStyle = "white"; // on which models see what is transparent
  below.fillRect(0, 0, current.width, current.height);
  below.drawImage(image, 0, 0, current.width, current.height);
  if (isShown) drawMask(width, height);
  if (cursor && tool !== "hand") {
    above.beginPath();
    above.arc(cursor.x, cursor.y, (brush / 2) * view.scale, 0, 2 * Math.PI);
    for (const [line, colour] of [[3, "#000a"], [1.5, "#fff"]]) {
      above.lineWidth = line;
      above.strokeStyle = colour;
      above.stroke();
    }
  }
  $("zoom").textContent = `${Math.round(100 * view.scale)} %`;
  $("undo").disabled = !done.some((other) => other.picture === current);
  $("redo").disabled = !undone.some((other) => other.picture === current);
}

function drawMask(width, height) {
  let level = 0;
  while (view.scale * (1 << level) < 1 && level + 1 < mask.levels.length) level++;
  const { w, data } = mask.levels[level], size = view.scale * (1 << level);
  if (cells?.width !== width || cells.height !== height) cells = new ImageData(width, height);
  const colours = new Uint32Array(cells.data.buffer).fill(0);
  const span = (corner, side, most) => [Math.max(0, Math.ceil(corner - 0.5)),
                                        Math.min(most, Math.ceil(corner + side * view.scale - 0.5))];
  const [left, right] = span(view.x, current.width, width), [top, bottom] = span(view.y, current.height, height);
  const columns = Int32Array.from({ length: Math.max(0, right - left) }, (_, i) => (left + i + 0.5 - view.x) / size);
  for (let y = top; y < bottom; y++) {
    const row = Math.floor((y + 0.5 - view.y) / size) * w;
    for (let i = 0, at = y * width + left; i < columns.length; i++, at++)
      if (data[row + columns[i]] & 1) colours[at] = COLOUR;
  }
  above.putImageData(cells, 0, 0);
}

/* The view. */

function place(scale, x, y) {
  const { width, height } = above.canvas, within = (value, side, most) =>
    Math.min(most / 2, Math.max(most / 2 - side * view.scale, value)); // the picture never leaves the middle
  view.scale = Math.min(LARGEST_SCALE, Math.max(1 / LARGEST_SCALE, scale));
  view.x = within(x, current.width, width);
  view.y = within(y, current.height, height);
  show();
}

function zoom(factor, at = { x: above.canvas.width / 2, y: above.canvas.height / 2 }) {
  if (!current) return;
  const scale = Math.min(LARGEST_SCALE, Math.max(1 / LARGEST_SCALE, view.scale * factor)), ratio = scale / view.scale;
  place(scale, at.x - (at.x - view.x) * ratio, at.y - (at.y - view.y) * ratio);
}

function fit() {
  if (!current) return;
  const { width, height } = above.canvas, scale = Math.min(width / current.width, height / current.height, LARGEST_SCALE);
  place(scale, (width - current.width * scale) / 2, (height - current.height * scale) / 2);
}

function pan(dx, dy) {
  if (current) place(view.scale, view.x + dx, view.y + dy);
}

let isFitted = true;
new ResizeObserver(() => {
  const box = stage.getBoundingClientRect();
  for (const { canvas } of [below, above])
    [canvas.width, canvas.height] = [box.width, box.height].map((side) => Math.round(side * devicePixelRatio));
  if (isFitted) fit();
  else pan(0, 0);
}).observe(stage);

/* Pictures and files. */

async function keep(picture, { levels: [{ data }] }) {
  if (stroke) keepStroke();
  picture.kept = await packed(data, picture.width, picture.height);
}

async function open(number) {
  if (!pictures[number]) return;
  wanted = number;
  if (isOpening) return;
  isOpening = true;
  while (pictures[wanted] !== current) await load(pictures[wanted]);
  isOpening = false;
}

async function load(picture) {
  if (mask) {
    const left = keep(current, mask);
    mask = null; // so that nothing is drawn on what has been kept
    await left;
  }
  [current, lastPoint, isFitted] = [picture, null, true];
  const number = pictures.indexOf(picture), { width, height } = picture, fresh = new Mask(width, height);
  $("list").value = number;
  $("previous").disabled = number === 0;
  $("next").disabled = number === pictures.length - 1;
  const type = `image/${picture.node.dataset.kind}`;
  const address = URL.createObjectURL(new Blob([bytesOf(picture.node.textContent)], { type }));
  image = new Image();
  image.src = address;
  try {
    await image.decode();
    if (picture.kept) await unpack(picture.kept, fresh.levels[0].data, width, height);
    mask = fresh;
    mask.refresh(whole());
    setBrush(Math.max(6, Math.max(width, height) / 60));
    fit();
    const hint = picture.kept ? "" : "Draw over what is to be filled. ";
    tell(picture.note || `${hint}${width} × ${height} pixels, its mask is ${picture.file}`);
  } catch (error) {
    tell(`${picture.name}: this browser cannot show it (${error.message})`);
  }
  URL.revokeObjectURL(address);
  show();
}

const turn = (by) => open(wanted + by);

function tell(text) {
  $("status").textContent = text;
}

const saved = (picture) => {
  if (picture.isUnsaved) unsaved--;
  picture.isUnsaved = false;
};

async function savePng() {
  if (!mask) return;
  const picture = current;
  await keep(picture, mask);
  if (!picture.kept) return tell("There is no hole in this mask yet.");
  download(picture.file.split("/").pop(), "image/png", [png(picture.kept, picture.width, picture.height)]);
  saved(picture);
  tell(`Saved; its place in the folder of masks is ${picture.file}.`);
}

async function saveZip() {
  if (!mask) return;
  await keep(current, mask);
  const holes = pictures.filter(({ kept }) => kept), without = pictures.length - holes.length;
  if (!holes.length) return tell("There is no hole in any mask yet.");
  const { name, command } = $("all").dataset;
  download(name, "application/zip", zip(holes.map(({ file, kept, width, height }) => [file, png(kept, width, height)])));
  pictures.forEach(saved);
  tell(`${holes.length} saved, ${without} without a hole. Next: ${command}${without ? " --skip-missing" : ""}`);
}

/* Tools, mouse, touch and keyboard. */

function choose(name) {
  tool = name;
  for (const other of ["brush", "eraser", "hand"]) $(other).setAttribute("aria-pressed", other === name);
  stage.dataset.tool = name;
  show();
}

const largestBrush = () => Math.max(8, Math.max(current.width, current.height) / 4);

function setBrush(pixels) {
  brush = Math.min(largestBrush(), Math.max(1, Math.round(pixels)));
  $("size").value = (100 * Math.log(brush)) / Math.log(largestBrush());
  $("pixels").textContent = `${Math.round(brush)} px`;
  show();
}

function showMask() {
  isShown = !isShown;
  $("mask").setAttribute("aria-pressed", isShown);
  show();
}

function pointOf(event) {
  const box = stage.getBoundingClientRect();
  return { x: (event.clientX - box.left) * devicePixelRatio, y: (event.clientY - box.top) * devicePixelRatio };
}

const inImage = ({ x, y }) => ({ x: (x - view.x) / view.scale, y: (y - view.y) / view.scale });

stage.addEventListener("pointerdown", (event) => {
  if (!mask) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, pointOf(event));
  if (pointers.size > 1) {
    const broken = stroke && finishStroke(); // two fingers mean to move the picture
    if (broken) flip(broken);
  } else if (event.button === 0 && !isSpace && tool !== "hand") {
    const point = inImage(pointOf(event));
    stroke = newStroke();
    paint(event.shiftKey && lastPoint ? lastPoint : point, point);
    lastPoint = point;
  }
  show();
});

stage.addEventListener("pointermove", (event) => {
  cursor = event.pointerType === "touch" ? null : pointOf(event);
  const before = pointers.get(event.pointerId);
  if (before && stroke) {
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const point = inImage(pointOf(part));
      paint(lastPoint, point);
      lastPoint = point;
    }
  } else if (before && mask) {
    const point = pointOf(event), other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    isFitted = false;
    if (other) {
      const distance = ({ x, y }) => Math.hypot(x - other.x, y - other.y);
      pan((point.x - before.x) / 2, (point.y - before.y) / 2);
      zoom(distance(point) / Math.max(1, distance(before)), { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 });
    } else pan(point.x - before.x, point.y - before.y);
    pointers.set(event.pointerId, point);
  }
  show();
});

for (const name of ["pointerup", "pointercancel"])
  stage.addEventListener(name, (event) => {
    pointers.delete(event.pointerId);
    if (stroke) keepStroke();
  });
stage.addEventListener("pointerleave", () => { cursor = null; show(); });
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  isFitted = false;
  const lines = event.deltaMode ? 16 : 1;
  zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), pointOf(event));
}, { passive: false });

const zoomed = (change) => () => {
  isFitted = false;
  change();
};
const actions = {
  previous: () => turn(-1), next: () => turn(1), brush: () => choose("brush"), eraser: () => choose("eraser"),
  hand: () => choose("hand"), undo: () => step(done, undone), redo: () => step(undone, done), clear: clearMask,
  out: zoomed(() => zoom(1 / 1.25)), in: zoomed(() => zoom(1.25)), fit: () => { isFitted = true; fit(); },
  one: zoomed(() => zoom(1 / view.scale)), mask: showMask, save: savePng, all: saveZip, help: () => $("keys").showModal(),
};
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
$("list").addEventListener("change", (event) => { open(Number(event.target.value)); stage.focus(); });
$("size").addEventListener("input", (event) => setBrush(largestBrush() ** (event.target.value / 100)));

const byKey = {
  b: "brush", e: "eraser", h: "hand", n: "next", PageDown: "next", p: "previous", PageUp: "previous", "+": "in",
  "=": "in", "-": "out", 0: "fit", 1: "one", m: "mask", s: "save", z: "all", "?": "help",
};
const ARROWS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
addEventListener("keydown", (event) => {
  if ($("keys").open || event.target.matches("select, input") && !event.ctrlKey && !event.metaKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key === "y" || (key === "z" && event.shiftKey)) actions.redo();
    else if (key === "z") actions.undo();
    else if (key === "s") actions.save();
    else return;
  } else if (key === " ") {
    if (event.target.matches("button, a")) return;
    isSpace = true;
  } else if (key === "[" || key === "]") setBrush(key === "]" ? Math.max(brush + 1, brush * 1.2) : brush / 1.2);
  else if (ARROWS[key]) zoomed(() => pan(...ARROWS[key]))();
  else if (byKey[key] && !event.altKey) actions[byKey[key]]();
  else return;
  event.preventDefault();
});
addEventListener("keyup", (event) => { if (event.key === " ") isSpace = false; });

for (const [number, { name }] of pictures.entries()) $("list").add(new Option(`${number + 1}/${pictures.length}  ${name}`, number));
if (!globalThis.CompressionStream) tell("This browser is too old for this page: it lacks CompressionStream (2023).");
else if (pictures.length) open(0);
