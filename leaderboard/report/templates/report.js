"use strict";
// Sorting by the buttons in the heads of the columns, filtering by a field above the table, everything open on paper.
for (const box of document.querySelectorAll(".table")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const heads = [...box.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.v;
      const numeric = rows.every((row) => !Number.isNaN(Number(key(row))));
      const missing = (row) => key(row) === "";
      const order = [...rows].sort((a, b) => {
        if (missing(a) !== missing(b)) return missing(a) ? 1 : -1;  // a dash comes last, whatever the direction
        if (missing(a)) return 0;
        const sign = numeric ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b));
        return down ? -sign : sign;
      });
      body.append(...order);
    });
  });
  const field = box.querySelector("input[type=search]");
  if (!field) continue;
  const count = box.querySelector("[role=status]");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} of ${rows.length} lines`;
  });
}
const folded = [...document.querySelectorAll("details")];
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = folded.filter((one) => !one.open);
  closed.forEach((one) => { one.open = true; });
});
window.addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
