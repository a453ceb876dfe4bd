// One image after the other: show, take the answer, save it, go on. The server decides what comes next.

import { Clock } from "./clock.js";
import { listenToKeys } from "./keys.js";
import { listen } from "./pointer.js";
import { mention, posting, surely } from "./server.js";
import { Viewer } from "./viewer.js";

const main = document.getElementById("content");
const told = JSON.parse(main.dataset.told);
const texts = JSON.parse(main.dataset.texts);
const words = document.getElementById("words").dataset;
const at = (id) => document.getElementById(id);
const form = at("answer");
const say = (key, values = {}) => texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// A second click of a double click must not fall on the next image.
const SETTLE = 200;
// Longer than this between two signs of life, and a crash would lose that much of the time seen.
const BEAT = 15000;
const UNSENT = "unsent";
// With findings, marks or an answer to change, only Enter and the button save: there may be more to say.
const savesItself = !told.findings.length && !told.marks && !told.goBack;

let state = JSON.parse(main.dataset.state);
// loading, reading, over (of time), paused, saving, truth (shown in training), stuck
let phase = "loading";
let settled = 0;
let following = null;
let byPointer = false;
let marking = false;
let held = null; // what is picked, as far as it was accepted

const clock = new Clock();
const viewer = new Viewer(at("image"), told, describe);

const answering = () => (phase === "reading" || phase === "over") && performance.now() >= settled;

function describe() {
  at("zoom").textContent = say("zoom", { zoom: Math.round(viewer.scale * 100) });
  if (!viewer.values) return;
  const [level, width] = viewer.level().map(Math.round);
  at("level").max = at("width").max = viewer.full;
  at("width").min = 1;
  at("level").value = level;
  at("width").value = width;
  at("window").textContent = say("window", { level, width });
}

function set(next) {
  phase = next;
  document.body.dataset.phase = next;
  form.querySelectorAll(".view").forEach((part) => (part.disabled = next !== "reading" && next !== "truth"));
  at("pause").disabled = next !== "reading";
  allowSaving();
}

function allowSaving() {
  const { choice, confidence } = picked();
  const may = phase === "truth" || (["reading", "over"].includes(phase) && choice && confidence);
  at("save").setAttribute("aria-disabled", String(!may)); // a disabled button would lose the focus
}

function notice(text, kind = "") {
  at("notice").textContent = text;
  at("notice").hidden = !text;
  at("notice").className = `notice ${kind}`;
}

function cover(title, lead = "", button = "") {
  at("cover").hidden = !title;
  at("cover-title").textContent = title;
  at("cover-lead").textContent = lead;
  at("cover-button").textContent = button;
  at("cover-button").hidden = !button;
}

function picked() {
  const data = new FormData(form);
  const boxes = [...form.querySelectorAll("input:checked")];
  const value = (name) => data.get(name) ?? boxes.find((one) => one.name === name)?.value ?? null;
  const findings = boxes.filter((one) => one.name === "finding").map((one) => one.value);
  return { choice: value("choice"), confidence: Number(value("confidence")) || null, findings, marks: viewer.marks };
}

function pick({ choice, confidence, findings, marks }) {
  for (const input of form.elements) {
    if (input.name === "choice") input.checked = input.value === choice;
    if (input.name === "confidence") input.checked = Number(input.value) === confidence;
    if (input.name === "finding") input.checked = findings.includes(input.value);
  }
  viewer.marks = marks;
  held = { choice, confidence, findings, marks };
  marksChanged();
}

const NOTHING = { choice: null, confidence: null, findings: [], marks: [] };
const draftName = () => `draft ${state.id}`;

function begin(next) {
  state = next;
  main.dataset.presentation = state.id;
  following = null;
  viewer.clear();
  cover("");
  notice("");
  clock.set(state.id, Math.max(state.seconds, state.earlier?.seconds ?? 0));
  const title = say(state.training ? "training" : "number", state);
  at("number").textContent = document.title = title;
  main.querySelector("h1").textContent = title;
  at("image").setAttribute("aria-label", title);
  at("part").textContent = state.training || told.blocks < 2 ? "" : say("part", { block: state.block, blocks: told.blocks });
  at("progress").max = state.of;
  at("progress").value = state.number - 1;
  at("save").firstChild.textContent = `${words.save} `;
  if (at("back")) {
    at("back").hidden = !state.back;
    at("back").href = `/?at=${state.back}`;
  }
  pick(NOTHING);
  set("loading");
  const unsent = JSON.parse(sessionStorage.getItem(UNSENT) ?? "null");
  if (unsent?.presentation === state.id && unsent.revision === state.revision) send(unsent);
  else if (isOver()) over();
  else if (state.paused) paused();
  else load();
}

async function load() {
  set("loading");
  at("status").textContent = say("loading");
  const presentation = state.id;
  const response = await surely(`/pixels/${presentation}`, {}, (why) => notice(say(why ?? "waiting_image"), "warn"));
  if (response.status === 401) return stuck("signed_out");
  if (!response.ok) return go();
  let buffer;
  try {
    buffer = await response.arrayBuffer();
  } catch {
    return load(); // the connection broke in the middle
  }
  if (!viewer.load(buffer)) return load();
  notice("");
  const draft = JSON.parse(sessionStorage.getItem(draftName()) ?? "null") ?? state.earlier;
  look();
  if (draft) pick(draft);
  allowSaving();
}

// The image comes before the reader's eyes; from the next frame on the time runs.
function look() {
  viewer.show(true);
  cover("");
  set("reading");
  settled = performance.now() + SETTLE;
  requestAnimationFrame(() => {
    if (phase === "reading" && !document.hidden) clock.run();
  });
  at("status").textContent = say("ready", state);
  viewer.show(true);
}

const isOver = () => told.timeLimit !== null && !state.earlier && clock.seconds() >= told.timeLimit;

function over() {
  clock.stop();
  viewer.show(false);
  mention("/viewing", { presentation: state.id, kind: "seen", seconds: clock.seconds() });
  cover(words.over);
  at("left").hidden = true;
  set("over");
  at("status").textContent = say("over");
}

function paused() {
  clock.stop();
  viewer.show(false);
  cover(words.paused, words.pausedLead, words.resume);
  set("paused");
  at("cover-button").focus();
}

function pause() {
  if (phase !== "reading") return;
  paused();
  mention("/viewing", { presentation: state.id, kind: "pause", seconds: clock.seconds() });
}

function resume() {
  if (phase !== "paused") return;
  mention("/viewing", { presentation: state.id, kind: "resume", seconds: clock.seconds() });
  if (viewer.values) look();
  else load();
}

function stuck(key) {
  set("stuck");
  clock.stop();
  viewer.show(false);
  notice(say(key), "warn");
  at("status").textContent = "";
}

function save() {
  if (phase === "truth") return proceed();
  const { choice, confidence, findings, marks } = picked();
  if (!answering() || !choice || !confidence) return;
  const timedOut = phase === "over";
  clock.stop();
  const seconds = Math.round(clock.seconds() * 1000) / 1000;
  const fields = { choice, confidence, seconds, timed_out: timedOut, findings, marks };
  send({ presentation: state.id, revision: state.revision, ...fields });
}

async function send(answer) {
  sessionStorage.setItem(UNSENT, JSON.stringify(answer));
  set("saving");
  at("status").textContent = say("saving");
  const response = await surely("/answer", posting(answer), (why) => notice(say(why ?? "waiting"), "warn"));
  if (response.status === 401) return stuck("signed_out");
  if (response.status === 423) return go(); // closed; should it be opened again, the answer is still here
  if (response.status === 400 || response.status === 403) return stuck("refused");
  let result = null;
  try {
    if (response.ok) result = await response.json();
  } catch {
    return send(answer); // it may be stored already; sending it again stores no second
  }
  sessionStorage.removeItem(UNSENT);
  sessionStorage.removeItem(draftName());
  clock.forget();
  if (!result) return go();
  at("progress").value = state.number;
  at("status").textContent = say("saved");
  following = result.next;
  if (result.truth) truth(answer.choice, result.truth);
  else proceed();
}

function truth(choice, right) {
  set("truth");
  viewer.show(true);
  cover("");
  notice(`${say(`truth_${right}`)} ${say(`said_${choice}`)}`, choice === right ? "right" : "wrong");
  at("save").firstChild.textContent = `${words.goOn} `;
  at("save").focus();
}

function proceed() {
  if (!following) return go();
  if (location.search) history.replaceState(null, "", "/");
  begin(following);
}

// To whatever page the server has for this reader now; only when it can be had, so that the answer stays in view.
async function go() {
  set("loading");
  await surely("/", {}, (why) => notice(say(why ?? "waiting_image"), "warn"));
  location.replace("/");
}

function changed() {
  held = picked();
  sessionStorage.setItem(draftName(), JSON.stringify(held));
  allowSaving();
}

function choose(name, value) {
  if (!answering()) return;
  form.querySelector(`input[name=${name}][value="${value}"]`).checked = true;
  changed();
  const { choice, confidence } = picked();
  if (savesItself && choice && confidence) save();
}

function tick(index) {
  const box = form.querySelectorAll("input[name=finding]")[index];
  if (!box || !answering()) return;
  box.checked = !box.checked;
  changed();
}

function mark(share) {
  if (phase !== "reading" || viewer.marks.length >= 50) return;
  viewer.marks = [...viewer.marks, share];
  marksChanged();
  changed();
}

function unmark() {
  viewer.marks = viewer.marks.slice(0, -1);
  marksChanged();
  changed();
}

function marksChanged() {
  viewer.draw();
  if (!told.marks) return;
  at("marks").textContent = say("marks", { n: viewer.marks.length });
  at("unmark").disabled = viewer.marks.length === 0;
}

function setMarking(on) {
  if (!told.marks) return;
  marking = on;
  viewer.cross = on ? [0.5, 0.5] : null;
  at("mark").setAttribute("aria-pressed", String(on));
  at("stage").classList.toggle("marking", on);
  viewer.draw();
}

function moveCross(x, y) {
  viewer.cross = [viewer.cross[0] + x / 50, viewer.cross[1] + y / 50].map((one) => Math.min(1, Math.max(0, one)));
  viewer.draw();
}

form.addEventListener("pointerdown", () => (byPointer = true), true);
document.addEventListener("keydown", () => (byPointer = false), true);
form.addEventListener("change", (event) => {
  if (["level", "width"].includes(event.target.id)) return;
  if (!answering()) return pick(held);
  changed();
  const { choice, confidence } = picked();
  // Arrow keys inside the group move from level to level; only a press of a button means one.
  if (savesItself && byPointer && choice && confidence) save();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
// A press of the mouse leaves no focus behind: the next Enter saves, it does not zoom or open the keys once more.
form.addEventListener("click", (event) => event.detail && event.target.closest("button, summary")?.blur());
form.addEventListener("input", (event) => {
  if (["level", "width"].includes(event.target.id)) viewer.setLevel(Number(at("level").value), Number(at("width").value));
});
for (const [id, act] of [
  ["zoom-in", () => viewer.step(1)],
  ["zoom-out", () => viewer.step(-1)],
  ["zoom-one", () => viewer.zoom(1)],
  ["zoom-fit", () => viewer.fit()],
  ["window-start", () => viewer.setWindow(...viewer.start)],
  ["window-image", () => viewer.setWindow(...viewer.extent)],
  ["window-full", () => viewer.setWindow(0, viewer.full)],
  ["pause", pause],
  ["cover-button", resume],
  ["mark", () => setMarking(!marking)],
  ["unmark", unmark],
]) {
  at(id)?.addEventListener("click", act);
}

listen(viewer, { active: () => ["reading", "truth"].includes(phase), marking: () => marking, marked: mark });
listenToKeys({
  choose,
  confide: (level) => choose("confidence", level),
  save,
  tick,
  pause: () => (phase === "paused" ? resume() : pause()),
  viewing: () => ["reading", "truth"].includes(phase),
  viewer,
  marking: () => marking,
  setMarking,
  moveCross,
  place: () => mark(viewer.cross),
  unmark,
});

document.addEventListener("visibilitychange", () => {
  if (phase !== "reading") return;
  if (document.hidden) clock.stop();
  else clock.run();
});
window.addEventListener("pagehide", () => {
  clock.keep();
  if (phase === "reading") mention("/viewing", { presentation: state.id, kind: "seen", seconds: clock.seconds() });
});
setInterval(() => {
  if (clock.running) mention("/viewing", { presentation: state.id, kind: "seen", seconds: clock.seconds() });
}, BEAT);
setInterval(() => {
  at("left").hidden = told.timeLimit === null || phase !== "reading" || Boolean(state.earlier);
  if (told.timeLimit === null || phase !== "reading") return;
  at("left").textContent = say("left", { seconds: Math.max(0, Math.ceil(told.timeLimit - clock.seconds())) });
  if (isOver()) over();
}, 200);

begin(state);
