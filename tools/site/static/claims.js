// Filters the table of claims; every word of the search has to be in a claim's text.
"use strict";
(() => {
  const rows = [...document.querySelectorAll("#claims-table tbody tr")];
  const search = document.getElementById("claims-search");
  const verdict = document.getElementById("claims-verdict");
  const kind = document.getElementById("claims-kind");
  const count = document.getElementById("claims-count");
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits =
        (!verdict.value || row.dataset.verdict === verdict.value) &&
        (!kind.value || row.dataset.kind === kind.value) &&
        words.every((word) => row.dataset.words.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  }
  for (const control of [search, verdict, kind]) control.addEventListener("input", filter);
  filter(); // browsers keep what was typed when a page is loaded again
})();
