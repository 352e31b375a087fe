// A link such as http://…/#code=… fills the form of that name and sends it. What stands
// behind # is not sent with a request, so that no log and no other page learns it.
"use strict";

const form = document.querySelector("form[data-fragment]");
const name = form.dataset.fragment;
const given = new URLSearchParams(location.hash.slice(1));
// The next page may need the rest of the link; the secret must not stay in its address.
const rest = new URLSearchParams(given);
rest.delete(name);
if ("keepFragment" in form.dataset && String(rest)) {
  form.action += `#${rest}`;
}
// After a refusal the form stays, or it would be sent again and again.
if (given.has(name) && !document.querySelector("[role=alert]")) {
  form.elements[name].value = given.get(name);
  history.replaceState(null, "", location.pathname);
  form.requestSubmit();
}
