"use strict";
// A ballot: blind pairs, chosen by keyboard or pointer. Votes stay in this browser until they are sent back.
const ballot = JSON.parse(document.getElementById("ballot").textContent);
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", "=": "tie", u: "undo", U: "undo", Backspace: "undo" };
const at = (id) => document.getElementById(id);
const store = `imagegen-ballot-${ballot.ballot}`;
let state = { rater: "", votes: [], changes: 0 };
let shown = 0;

// The votes are in the browser's storage and in the tab's history. Private windows have no storage, and a page that is reloaded
// at once may read it before it is written.
const PLACES = [
  { read: () => localStorage.getItem(store), write: (text) => localStorage.setItem(store, text) },
  { read: () => history.state?.[store] ?? null, write: (text) => history.replaceState({ [store]: text }, "") },
];

function load() {
  for (const place of PLACES) {
    try {
      const kept = JSON.parse(place.read());
      const newer = (kept?.changes ?? 0) >= state.changes;
      if (newer && kept && Array.isArray(kept.votes) && typeof kept.rater === "string") state = { changes: 0, ...kept };
    } catch { /* there is none, or it has something else */ }
  }
}

function keep() {
  state.changes += 1;
  for (const place of PLACES) {
    try {
      place.write(JSON.stringify(state));
    } catch { /* then the votes are in the other, or in this page until it is closed */ }
  }
}

function result() {
  const votes = state.votes.map((vote, pair) => {
    const [left, right] = ballot.pairs[pair];
    return { pair, left, right, choice: vote.choice, milliseconds: vote.milliseconds };
  });
  return JSON.stringify({ format: ballot.format, ballot: ballot.ballot, rater: state.rater, votes });
}

function draw() {
  const given = state.votes.length, count = ballot.pairs.length, over = given >= count;
  at("vote").hidden = over;
  at("end").hidden = !given;
  at("progress").textContent = over ? `All ${count} pairs are done. Send back your votes.` : `Pair ${given + 1} of ${count}`;
  at("thanks").textContent = over ? "Thank you." : `${given} of ${count} pairs are done. You can send back these votes now, and the others later.`;
  at("undo").disabled = !given;
  at("text").value = result();
  if (!over) ["left", "right"].forEach((side, place) => { at(side).firstChild.src = ballot.pictures[ballot.pairs[given][place]]; });
  shown = performance.now();
}

function choose(choice) {
  if (state.votes.length >= ballot.pairs.length) return;
  state.votes.push({ choice, milliseconds: Math.min(Math.round(performance.now() - shown), 99999999) });
  keep();
  draw();
  if (at("vote").hidden) at("end-title").focus();
}

function undo() {
  if (!state.votes.length) return;
  state.votes.pop();
  keep();
  draw();
  if (document.activeElement === document.body) at("title").focus();
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([result()], { type: "application/json" }));
  link.download = `votes-${ballot.ballot.slice(0, 8)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  at("progress").textContent = "The file is among your downloads.";
}

async function copy() {
  at("text").select();
  try {
    await navigator.clipboard.writeText(result());
  } catch {
    document.execCommand("copy");
  }
  at("progress").textContent = "The text was copied.";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
  const meaning = KEYS[event.key];
  if (!meaning) return;
  event.preventDefault();
  if (meaning === "undo") undo();
  else choose(meaning);
});
for (const side of ["left", "right", "tie"]) at(side).addEventListener("click", () => choose(side));
at("undo").addEventListener("click", undo);
at("save").addEventListener("click", save);
at("copy").addEventListener("click", copy);
at("name").addEventListener("input", () => { state.rater = at("name").value; keep(); at("text").value = result(); });
load();
at("name").value = state.rater;
draw();
