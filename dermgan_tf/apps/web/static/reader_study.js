// A question's page: measures time, takes keys, and sends the answer until it is stored.
// Without this script the form works, too, but for time and keys.
"use strict";

const IGNORED_MS = 250; // a second key or click meant for the page before must not answer
const RETRY_MS = [500, 1000, 2000, 4000, 8000]; // then the last one, again and again
const GONE = [400, 401, 403, 404, 409, 413, 421]; // sending it again would not help

const form = document.querySelector("form[data-question]");
const status = form.querySelector(".status");
const buttons = [...form.querySelectorAll("button")];
const boxes = [...form.querySelectorAll("input[type=checkbox]")];
let shownAt = null; // performance.now() does not jump when the clock is set
let failed = false; // a picture did not come; the question may be answered all the same
let sending = false;

const tooEarly = () => shownAt === null || performance.now() - shownAt < IGNORED_MS;

const pictures = [...form.querySelectorAll("img")];
Promise.all(pictures.map((picture) => picture.decode())).then(
  () => requestAnimationFrame(() => { shownAt = performance.now(); }),
  () => {
    failed = true;
    status.textContent = "A picture did not load. Please reload this page.";
  },
);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (sending || (tooEarly() && !failed)) return;
  sending = true;
  const elapsed = shownAt === null ? "" : Math.round(performance.now() - shownAt);
  form.elements.elapsed_ms.value = elapsed;
  const answer = new URLSearchParams(new FormData(form, event.submitter));
  buttons.forEach((button) => { button.disabled = true; });
  send(answer, 0);
});

async function send(answer, tries) {
  try {
    const response = await fetch("/answer", {
      method: "POST",
      body: answer,
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(20000),
    });
    if (response.ok || GONE.includes(response.status)) {
      location.replace("/study"); // which tells what comes next, or what is wrong
      return;
    }
  } catch {
    // no connection: below
  }
  status.textContent = "Not stored yet. Trying again…";
  const wait = RETRY_MS[Math.min(tries, RETRY_MS.length - 1)];
  setTimeout(() => send(answer, tries + 1), wait);
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || sending) return;
  const chosen = form.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!chosen || tooEarly()) return;
  event.preventDefault();
  chosen.click();
});

function nameButton() {
  const button = form.querySelector("button[data-none]");
  if (!button) return;
  const some = boxes.some((box) => box.checked);
  button.textContent = some ? button.dataset.some : button.dataset.none;
}
boxes.forEach((box) => box.addEventListener("change", nameButton));
nameButton();
