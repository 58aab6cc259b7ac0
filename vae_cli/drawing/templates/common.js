"use strict";
const $ = (id) => document.getElementById(id);

let unsaved = 0; // changes that closing the page would lose
addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});

/** Have the browser store parts (strings, bytes) as a file. */
function download(name, type, parts) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
