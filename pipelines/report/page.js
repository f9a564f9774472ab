"use strict";

// Tokens are marked when a problem is first opened: two characters per token say how long it is (base 36) and how novel (0 to 9).
function markTokens(element) {
  const characters = Array.from(element.textContent);
  const marks = element.dataset.marks;
  const pieces = document.createDocumentFragment();
  let place = 0;
  for (let i = 0; i < marks.length; i += 2) {
    const end = place + parseInt(marks[i], 36);
    const text = characters.slice(place, end).join("");
    if (marks[i + 1] === "0") {
      pieces.append(text);
    } else {
      const mark = document.createElement("i");
      mark.style.setProperty("--level", marks[i + 1]);
      mark.textContent = text;
      pieces.append(mark);
    }
    place = end;
  }
  pieces.append(characters.slice(place).join(""));
  element.replaceChildren(pieces);
  element.removeAttribute("data-marks");
}

const problems = Array.from(document.querySelectorAll(".problem"));
for (const problem of problems) {
  problem.addEventListener("toggle", () => problem.querySelectorAll("[data-marks]").forEach(markTokens));
}

const buttons = Array.from(document.querySelectorAll("[data-filter]"));
const find = document.getElementById("find");
const numConditions = buttons.filter((button) => button.dataset.filter.startsWith("only")).length || 1;

function isShown(problem) {
  const solved = problem.dataset.solved ? problem.dataset.solved.split(" ") : [];
  const filter = buttons.find((button) => button.getAttribute("aria-pressed") === "true").dataset.filter;
  const fits = {
    any: true,
    none: solved.length === 0,
    every: solved.length === numConditions,
  }[filter] ?? (solved.length === 1 && filter === `only ${solved[0]}`);
  return fits && problem.textContent.toLowerCase().includes(find.value.toLowerCase());
}

function refresh() {
  let count = 0;
  for (const problem of problems) {
    problem.hidden = !isShown(problem);
    count += problem.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = `${count} problem${count === 1 ? "" : "s"}`;
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    refresh();
  });
}
find.addEventListener("input", refresh);
