// Sends a photo to search by, and follows where its like are. All else works without.
"use strict";

const form = document.querySelector("form[data-upload]");
if (form) {
  const status = form.querySelector(".status");
  const button = form.querySelector("button");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [file] = form.elements.photo.files;
    if (!file) return;
    if (file.size > Number(form.dataset.max)) {
      status.textContent = "This photo is too large to send.";
      return;
    }
    button.disabled = true;
    status.textContent = "Searching…";
    try {
      const response = await fetch("/photo", {
        method: "POST",
        body: new Blob([file]), // without the name of the file
        headers: { Accept: "application/json", "Content-Type": "application/octet-stream" },
      });
      const told = await response.json();
      if (response.ok) {
        await show(told.page, file);
        return;
      }
      status.textContent = told.message;
    } catch {
      status.textContent = "That did not work. Please try again.";
    }
    button.disabled = false;
  });
}

// The page with what is similar, in this one's place, so that the photo itself can stand
// there, too, which neither the server nor the browser keeps.
async function show(page, file) {
  const response = await fetch(page);
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  const canvas = next.querySelector("canvas[data-preview]");
  const picture = await createImageBitmap(file).catch(() => null);
  if (!response.ok || !canvas || !picture) {
    location.assign(page);
    return;
  }
  next.querySelector(".bring")?.remove(); // its script is bound to this page
  history.pushState(null, "", page);
  addEventListener("popstate", () => location.reload());
  document.title = next.title;
  document.querySelector("main").replaceWith(document.adoptNode(next.querySelector("main")));
  const scale = Math.min(1, 256 / Math.max(picture.width, picture.height));
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
  scrollTo(0, 0);
  const heading = document.querySelector("h1");
  heading.tabIndex = -1;
  heading.focus();
}
