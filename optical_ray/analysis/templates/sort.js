for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("thead th").forEach((header, index) => {
    const button = document.createElement("button");
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = header.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = (row) => { const cell = row.children[index]; return cell.dataset.sort ?? cell.textContent; };
      const empty = (text) => text === "" || text === "-";
      const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((first, second) => {
        const a = key(first), b = key(second);
        if (empty(a) || empty(b)) return empty(a) - empty(b);
        return falling ? compare(b, a) : compare(a, b);
      });
      body.append(...rows);
    });
  });
}
