// a click on a metric sorts its table, best first; again, the other way round
for (const table of document.querySelectorAll("table.scores")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector(".sort")?.addEventListener("click", () => {
      const descends = head.hasAttribute("aria-sort")
        ? head.getAttribute("aria-sort") === "ascending"
        : head.dataset.better !== "-1";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descends ? "descending" : "ascending");
      const value = (row) => Number(row.cells[column].dataset.value || NaN);
      const sign = descends ? -1 : 1;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
