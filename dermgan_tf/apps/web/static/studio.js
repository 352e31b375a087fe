// The drawing page: keeps what is chosen, in the page's address as well; asks for
// pictures, one request at a time and always of the newest state; and shows them.
import { BoxCanvas } from "./box_canvas.js";

const WAIT_MS = 40; // changes that come closer together are asked for at once
const ADDRESS_MS = 200; // browsers limit how often an address may change
const RETRY_MS = [1000, 1000, 2000, 4000, 8000]; // then the last one, again and again
const PATIENCE_MS = 400; // before "painting" is said
const UNDO = 100;

const byId = (id) => document.getElementById(id);
const form = byId("studio");
const size = Number(form.dataset.size);
const options = [...byId("condition").options];
const types = [...form.elements.fitzpatrick];
const seriesChoices = [...form.elements.series];

const boxes = new BoxCanvas(byId("canvas"), size, Number(form.dataset.maxBoxes), {
  changed: (live) => changed(live),
  selected: () => showBoxes(),
  full: () => say(`At most ${form.dataset.maxBoxes} boxes are painted.`),
});
// What is chosen, beside the boxes. `pick`: which of the variants is shown large.
const state = {
  condition: "", fitzpatrick: 0, seed: 0, series: "variants", variants: 1, pick: 0, over: false,
};

// --- the address ---

const boxText = ({ top, left, bottom, right }) => [top, left, bottom, right]
  .map((side) => String(Number((side / size).toFixed(6)))).join(",");
const isHealthy = () => options.some((one) => one.value === state.condition && "healthy" in one.dataset);
const allBoxes = () => boxes.boxes.map(boxText).join(";") || "none";

function address() {
  const fields = new URLSearchParams({
    condition: state.condition,
    fitzpatrick: state.fitzpatrick,
    boxes: allBoxes(),
    seed: state.seed,
    series: state.series,
    variants: state.variants,
  });
  if (state.pick) fields.set("pick", state.pick);
  if (state.over) fields.set("over", 1);
  fields.set("generator", form.dataset.generator);
  return fields.toString().replaceAll("%2C", ",").replaceAll("%3B", ";");
}

// Whole pixels that cover a box, as the map's own rule has it; null for no box.
function pixels(text) {
  const sides = text.split(",").map((part) => (part.trim() ? Number(part) : NaN));
  if (sides.length !== 4 || !sides.every((side) => side >= 0 && side <= 1)) return null;
  const [top, left, bottom, right] = sides.map((side) => Number((side * size).toFixed(4)));
  if (top >= bottom || left >= right) return null;
  const [y, x] = [Math.min(Math.floor(top), size - 1), Math.min(Math.floor(left), size - 1)];
  return {
    top: y, left: x, bottom: Math.max(Math.ceil(bottom), y + 1), right: Math.max(Math.ceil(right), x + 1),
  };
}

function whole(text, low, high, otherwise) {
  const good = /^\d{1,10}$/.test(text ?? "") && Number(text) >= low && Number(text) <= high;
  return good ? Number(text) : otherwise;
}

const maxOf = (input) => Number(input.max);

// Takes over what an address says; returns what of it makes no sense here.
function read(text) {
  boxes.drag = null;
  const given = new URLSearchParams(text);
  const start = form.dataset;
  const problems = [];
  const condition = given.get("condition") ?? start.condition;
  const known = options.some((one) => one.value === condition);
  if (!known) problems.push(`this generator does not know “${condition.slice(0, 60)}”`);
  state.condition = known ? condition : start.condition;
  state.fitzpatrick = whole(given.get("fitzpatrick"), 0, 6, Number(start.fitzpatrick));
  state.seed = whole(given.get("seed"), 0, maxOf(byId("seed")), 0);
  state.variants = whole(given.get("variants"), 1, maxOf(byId("variants")), Number(start.variants));
  state.pick = whole(given.get("pick"), 0, state.variants - 1, 0);
  const series = given.get("series");
  state.series = seriesChoices.some((one) => one.value === series) ? series : "variants";
  state.over = given.get("over") === "1";
  const drawn = (given.get("boxes") ?? start.boxes).trim();
  const read = drawn === "none" ? [] : drawn.split(";").map(pixels);
  if (read.includes(null)) problems.push("some of its boxes are no boxes");
  boxes.boxes = read.filter(Boolean).slice(0, boxes.maxBoxes);
  boxes.selected = boxes.boxes.length - 1;
  const generator = given.get("generator");
  if (generator && generator !== start.generator) {
    problems.push(`it was made with generator ${generator.slice(0, 8)}, this is another one`);
  }
  return problems;
}

let writing = 0;
function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => history.replaceState(null, "", `#${address()}`), ADDRESS_MS);
}

function readAddress() {
  const problems = read(location.hash.slice(1));
  changed(false);
  byId("link_note").textContent = problems.length ? `About this link: ${problems.join("; ")}.` : "";
}

// --- changes ---

const earlier = []; // addresses, for Undo
let newest = "";

function changed(live) {
  if (!live) {
    const now = address();
    if (newest && now !== newest) earlier.push(newest);
    if (earlier.length > UNDO) earlier.shift();
    newest = now;
    writeAddress();
  }
  showChosen();
  showBoxes();
  ask();
}

function undo() {
  if (!earlier.length) return;
  read(earlier.pop());
  newest = ""; // what is undone is not remembered
  changed(false);
}

const code = (input) => input.dataset.code;

function showChosen() {
  const option = options.find((one) => one.value === state.condition);
  byId("condition").value = state.condition;
  types.forEach((one) => { one.checked = Number(one.value) === state.fitzpatrick; });
  const skin = code(types.find((one) => Number(one.value) === state.fitzpatrick));
  const box = isHealthy() ? "0,0" : code(option);
  boxes.colours = { skin: `rgb(${skin},0,0)`, box: `rgb(${skin},${box})` };
  boxes.fixed = isHealthy();
  byId("condition_code").setAttribute("fill", boxes.colours.box);
  setNumber(byId("seed"), state.seed);
  setNumber(byId("variants"), state.variants);
  seriesChoices.forEach((one) => { one.checked = one.value === state.series; });
  const none = isHealthy() || !boxes.boxes.length;
  seriesChoices.find((one) => one.value === "size").disabled = none;
  byId("variants").parentElement.hidden = state.series !== "variants";
  byId("over").checked = state.over;
  byId("over_badge").hidden = !state.over;
  byId("draw_title").textContent = state.over ? "Draw" : "Map";
  byId("undo").disabled = !earlier.length;
  byId("add").disabled = isHealthy();
}

function setNumber(input, value) {
  // What is being typed stays as it is, also when it is not yet a number.
  if (document.activeElement === input && input.valueAsNumber === value) return;
  if (document.activeElement === input && !input.validity.valid) return;
  input.value = value;
}

// --- the list of boxes ---

const SIDES = ["top", "left", "height", "width"];
const values = (box) => ({
  top: box.top, left: box.left, height: box.bottom - box.top, width: box.right - box.left,
});

function showBoxes() {
  const body = byId("boxes").tBodies[0];
  while (body.rows.length > boxes.boxes.length) body.rows[body.rows.length - 1].remove();
  while (body.rows.length < boxes.boxes.length) body.append(boxRow(body.rows.length));
  boxes.boxes.forEach((box, index) => {
    const row = body.rows[index];
    row.classList.toggle("selected", index === boxes.selected);
    const given = values(box);
    const limits = {
      top: size - given.height, left: size - given.width, height: size - box.top, width: size - box.left,
    };
    for (const input of row.querySelectorAll("input")) {
      const side = input.dataset.side;
      input.max = limits[side];
      setNumber(input, given[side]);
      input.disabled = isHealthy();
    }
  });
  const count = boxes.boxes.length;
  const counted = count === 1 ? "1 box" : `${count} boxes`;
  const chosen = boxes.selected < 0 ? "" : `, box ${boxes.selected + 1} is chosen`;
  byId("canvas").setAttribute("aria-label", `Map to draw boxes on: ${counted}${chosen}`);
  const nothing = byId("no_boxes");
  nothing.hidden = count > 0 && !isHealthy();
  nothing.textContent = isHealthy()
    ? "Healthy skin has no boxes: those above are left out."
    : "None: skin without the condition.";
  if (!count && isHealthy()) nothing.textContent = "Healthy skin has no boxes.";
  byId("remove").disabled = boxes.selected < 0 || isHealthy();
  boxes.draw();
}

function boxRow(index) {
  const row = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = index + 1;
  row.append(name);
  for (const side of SIDES) {
    const input = document.createElement("input");
    Object.assign(input, { type: "number", inputMode: "numeric", step: 1, required: true });
    input.min = side === "top" || side === "left" ? 0 : 1;
    input.dataset.side = side;
    input.setAttribute("aria-label", `Box ${index + 1}, ${side}`);
    input.addEventListener("focus", () => {
      if (boxes.selected !== index) boxes.select(index);
    });
    input.addEventListener("input", () => typed(index, input));
    input.addEventListener("blur", showBoxes);
    row.insertCell().append(input);
  }
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "×";
  button.setAttribute("aria-label", `Remove box ${index + 1}`);
  button.addEventListener("click", () => {
    boxes.remove(index);
    byId("canvas").focus({ preventScroll: true });
  });
  row.insertCell().append(button);
  return row;
}

function typed(index, input) {
  if (!input.validity.valid) return;
  const box = boxes.boxes[index];
  const value = input.valueAsNumber;
  const { height, width } = values(box);
  if (input.dataset.side === "top") Object.assign(box, { top: value, bottom: value + height });
  if (input.dataset.side === "left") Object.assign(box, { left: value, right: value + width });
  if (input.dataset.side === "height") box.bottom = box.top + value;
  if (input.dataset.side === "width") box.right = box.left + value;
  changed(false);
}

// --- painting ---

let timer = 0;
let retry = 0;
let busy = false;
let again = false;
let tries = 0;
let shown = ""; // what the pictures that are seen were asked with
let answer = null;

function ask() {
  if (timer) return; // it will ask with what is chosen then
  timer = setTimeout(() => {
    timer = 0;
    paint();
  }, WAIT_MS);
}

// During a drag the large picture alone is asked for, which is quicker.
const partial = () => boxes.drag !== null && (state.series !== "variants" || state.variants > 1);

// Fields of a request.
function wanted() {
  const live = partial();
  const drawn = isHealthy() ? "none" : allBoxes();
  const sweepsNothing = state.series === "size" && drawn === "none";
  const seed = (state.seed + (live ? picked() : 0)) % (maxOf(byId("seed")) + 1);
  return new URLSearchParams({
    condition: state.condition,
    fitzpatrick: state.fitzpatrick,
    boxes: drawn,
    seed,
    series: live || sweepsNothing ? "variants" : state.series,
    variants: live || sweepsNothing || state.series !== "variants" ? 1 : state.variants,
  });
}

const picked = () => (state.series === "variants" ? Math.min(state.pick, state.variants - 1) : 0);

async function paint() {
  clearTimeout(retry);
  if (busy) {
    again = true; // with what is chosen when the answer is there
    return;
  }
  const fields = wanted();
  const live = partial();
  if (fields.toString() === shown) {
    say("");
    showPicked();
    return;
  }
  busy = true;
  const started = performance.now();
  const slow = setTimeout(() => byId("shown").setAttribute("aria-busy", "true"), PATIENCE_MS);
  let wait = null;
  try {
    const response = await fetch("/paint", {
      method: "POST",
      body: fields,
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(60000),
    });
    const told = await response.json();
    if (!response.ok) {
      if (response.status === 503) wait = nextWait();
      throw new Error(told.message);
    }
    const items = live ? [told.picture] : [told.picture, ...told.series];
    items.forEach(load);
    await Promise.all(items.flatMap(({ image, mapImage }) => [image.decode(), mapImage.decode()]));
    answer = { ...told, live, series: live ? answer?.series ?? [] : told.series };
    answer.shownAfter = performance.now() - started;
    shown = fields.toString();
    tries = 0;
    say("");
    showAnswer();
  } catch (error) {
    if (error instanceof TypeError || error.name === "TimeoutError" || error.name === "EncodingError") {
      wait = nextWait();
      say("No connection to the painter. Trying again…");
    } else if (error instanceof SyntaxError) {
      say("This page is out of date. Please reload it.");
    } else {
      say(error.message);
    }
  } finally {
    clearTimeout(slow);
    busy = false;
  }
  if (wait !== null) retry = setTimeout(paint, wait);
  else if (again) {
    again = false;
    paint();
  }
}

const nextWait = () => RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)];

// Pictures are shown when all of them are there. They are <img> of an own address, so
// that whatever way they are saved the file says itself that it is synthetic.
function load(item) {
  const type = types.find((input) => Number(input.value) === item.fitzpatrick).dataset.name;
  const scene = `${item.condition}, skin type ${type}`;
  item.text = `${scene}, seed ${item.seed}`;
  item.image = imageOf(item.picture, `Synthetic picture: ${item.text}`);
  item.mapImage = imageOf(item.map, `Map: ${scene}`);
}

function imageOf(source, alt) {
  const image = new Image(size, size);
  image.src = source;
  image.alt = alt;
  return image;
}

function showAnswer() {
  showPicked();
  const [painting, after] = [answer.milliseconds, answer.shownAfter].map(Math.round);
  const own = answer.milliseconds ? ` (painting ${painting})` : "";
  byId("latency").textContent = `${after} ms${own}`;
  byId("latency").dataset.count = Number(byId("latency").dataset.count ?? 0) + 1;
  byId("shown").setAttribute("aria-busy", "false");
  if (!answer.live) showStrip();
}

// The large picture: the scene's own, or the variant that was picked.
function showPicked() {
  if (!answer) return;
  const variant = !answer.live && state.series === "variants" ? answer.series[picked()] : null;
  const item = variant ?? answer.picture;
  put(byId("shown"), item.image);
  put(byId("map"), item.mapImage);
  byId("told").textContent = `${item.text[0].toUpperCase()}${item.text.slice(1)}`;
  byId("download").href = item.picture;
  boxes.picture = state.over ? item.image : null;
  boxes.draw();
  markPicked();
}

// An image can stand in one place only; equal addresses are not loaded again.
function put(place, image, alt = image.alt) {
  const own = image.cloneNode();
  own.alt = alt;
  place.replaceChildren(own);
}

function showStrip() {
  const strip = byId("strip");
  strip.dataset.series = state.series;
  while (strip.children.length > answer.series.length) strip.lastChild.remove();
  while (strip.children.length < answer.series.length) strip.append(stripItem(strip.children.length));
  answer.series.forEach((item, index) => {
    const place = strip.children[index];
    put(place.querySelector(".picture"), item.image);
    const map = place.querySelector(".map");
    if (state.series === "variants") map.replaceChildren();
    else put(map, item.mapImage, ""); // the label says what is its own
    place.querySelector(".label").textContent = item.label;
  });
  const count = answer.series.length;
  const all = byId("download_all");
  all.textContent = count === 1 ? "Download as zip" : `Download all ${count} (zip)`;
  all.href = `/pictures.zip?${wanted()}`;
  markPicked();
}

function stripItem(index) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "thumb";
  for (const name of ["badge", "picture", "map", "label"]) {
    const part = document.createElement("span");
    part.className = name;
    button.append(part);
  }
  button.querySelector(".badge").textContent = "Synthetic";
  button.querySelector(".badge").ariaHidden = "true"; // the picture's text says it
  button.addEventListener("click", () => pick(index));
  item.append(button);
  return item;
}

function pick(index) {
  const item = answer.series[index];
  if (state.series === "variants") state.pick = index;
  if (state.series === "skin_color") state.fitzpatrick = item.fitzpatrick;
  if (state.series === "size") {
    boxes.boxes = item.boxes.map((box) => pixels(box.join(",")));
    boxes.selected = Math.min(boxes.selected, boxes.boxes.length - 1);
  }
  changed(false);
}

function markPicked() {
  [...byId("strip").children].forEach((place, index) => {
    const item = answer.series[index];
    const own = {
      variants: () => index === picked(),
      skin_color: () => item.fitzpatrick === state.fitzpatrick,
      size: () => item.boxes.map((box) => boxText(pixels(box.join(",")))).join(";") === allBoxes(),
    };
    place.firstChild.setAttribute("aria-pressed", String(Boolean(item) && own[state.series]()));
  });
}

function say(text) {
  if (byId("status").textContent !== text) byId("status").textContent = text;
}

// --- what people do ---

byId("condition").addEventListener("change", (event) => {
  state.condition = event.target.value;
  if (isHealthy() && state.series === "size") state.series = "variants";
  changed(false);
});
types.forEach((one) => one.addEventListener("change", () => {
  state.fitzpatrick = Number(one.value);
  changed(false);
}));
seriesChoices.forEach((one) => one.addEventListener("change", () => {
  state.seed = (state.seed + picked()) % (maxOf(byId("seed")) + 1);
  state.pick = 0;
  state.series = one.value;
  changed(false);
}));
for (const name of ["seed", "variants"]) {
  const input = byId(name);
  input.addEventListener("input", () => {
    if (!input.validity.valid) return;
    state[name] = input.valueAsNumber;
    state.pick = name === "seed" ? 0 : picked();
    changed(false);
  });
  input.addEventListener("blur", showChosen);
}
byId("new_seed").addEventListener("click", () => {
  state.seed = Math.floor(Math.random() * 1e6); // short enough to be told
  state.pick = 0;
  changed(false);
});
byId("over").addEventListener("change", (event) => {
  state.over = event.target.checked;
  changed(false);
});
byId("add").addEventListener("click", () => {
  if (boxes.add()) changed(false);
});
byId("remove").addEventListener("click", () => {
  boxes.remove(boxes.selected);
});
byId("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=number]");
  const asked = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
  if (!asked || typing) return;
  event.preventDefault();
  undo();
});
form.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", readAddress);
readAddress();
