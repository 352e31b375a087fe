// A link such as http://…/#code=… fills the form of that name and sends it. What stands
// behind # is not sent with a request, so that no log and no other page learns it.
"use strict";

const form = document.querySelector("form[data-fragment]");
const name = form.dataset.fragment;
const given = new URLSearchParams(location.hash.slice(1));
if ("keepFragment" in form.dataset) {
  // Also where the token is typed: the next page may need what the link says.
  form.addEventListener("submit", () => {
    if (location.hash && !form.action.includes("#")) form.action += location.hash;
  });
}
// After a refusal the form stays, or it would be sent again and again.
if (given.has(name) && !document.querySelector("[role=alert]")) {
  form.elements[name].value = given.get(name);
  if ("keepFragment" in form.dataset) {
    form.action += location.hash; // the next page may need the rest of it
  }
  history.replaceState(null, "", location.pathname);
  form.requestSubmit();
}
