// The live page: events in, acts out, and an honest word when either does not work.
import { Cards, setCarTime } from "./cards.js";
import { Duty } from "./duty.js";
import { watchSignOff } from "./leave.js";
import { Sounds } from "./sound.js";
import { Steps } from "./steps.js";
import { send } from "./token.js";

const SILENT_MS = 5000; // the car speaks every second; this long without a word is no connection
const byId = (id) => document.getElementById(id);

const sounds = new Sounds((blocked) => { byId("muted").hidden = !blocked; });
byId("sound-on").addEventListener("click", () => { sounds.unblock(); sounds.play("low"); });
byId("sound-test").addEventListener("click", () => { sounds.unblock(); sounds.play("high"); });

// --- acts ------------------------------------------------------------------------------------

function toast(text) {
  const box = byId("toast");
  // An open dialog lies over all else, and hides it from a screen reader.
  (document.querySelector("dialog[open]") ?? document.body).append(box);
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.hidden = true; }, 6000);
}

// It may lie over the very button that is needed next: one touch takes it away.
byId("toast").addEventListener("click", () => { byId("toast").hidden = true; });

function notDone({ message, remedy }) {
  return `Not done: ${message}${remedy ? ` ${remedy[0].toUpperCase()}${remedy.slice(1)}.` : ""}`;
}

async function post(path, fields) {
  try {
    const answer = await send(path, fields);
    if (answer.status === 401) signedOff();
    else if (answer.ok) return answer;
    else toast(notDone(await answer.json()));
  } catch {
    toast("Not done: no connection to the plate reader.");
  }
  return null;
}

// One act on a card; the answer, or null when it was not done.
async function act(name, card, fields = {}) {
  if (name === "category") {
    const silenced = await post("/shift/silence", { category: card.category, on: "yes" });
    return silenced && card.state === "new" ? act("silence", card) : silenced; // this one too
  }
  sounds.stop(card.id);
  cards.acting = name === "compare" ? card.id : "";
  const answer = await post(`/alerts/${card.id}/${name}`, { ...fields, seen: String(card.alarm) });
  const now = cards.get(card.id);
  // What was not recorded was not done: an alert that still stands open sounds on.
  if (!answer && now?.state === "new" && alarmed.get(card.id) === card.alarm) sounds.start(card.id, now.priority);
  return answer;
}

const words = JSON.parse(document.querySelector("meta[name=words]").content);
const gateway = document.querySelector("meta[name=gateway]").content === "yes";
const steps = new Steps(words, gateway, act, toast);
const cards = new Cards(byId("cards"), byId("empty"), byId("card"), act, steps);
watchSignOff(words, toast);
const duty = new Duty(post);

function showSilenced(categories) {
  const box = byId("silenced");
  box.hidden = !categories.length;
  if (box.dataset.told === String(categories)) return;
  box.dataset.told = String(categories);
  box.replaceChildren(...categories.map((category) => {
    const line = document.createElement("span");
    line.textContent = `Silenced for this shift: ${words.categories[category]} `;
    const again = document.createElement("button");
    again.type = "button";
    again.className = "big";
    again.textContent = "Sound category again";
    again.addEventListener("click", () => post("/shift/silence", { category, on: "no" }));
    line.append(again);
    return line;
  }));
}

// --- state of the car ------------------------------------------------------------------------

function span(seconds) {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")}` : `${minutes} min`;
}

function chip(name, light, value) {
  const box = document.createElement("span");
  box.className = "chip";
  box.dataset.light = light;
  box.dataset.chip = name;
  const label = document.createElement("span");
  label.className = "chip-name";
  label.textContent = name;
  const text = document.createElement("span");
  text.className = "chip-value";
  text.textContent = value;
  box.append(label, text);
  return box;
}

function cameraChip(one) {
  const box = chip(one.name, one.light, one.age_s === null ? "no picture" : `${one.age_s.toFixed(1)} s`);
  if (one.text) box.title = one.text;
  return box;
}

function showTroubles(car) {
  const words = [...car.alarms];
  byId("alarms").hidden = !words.length;
  const said = words.join(" · ");
  // Set only when it changes: a screen reader would say it every second.
  if (byId("alarms").textContent !== said) byId("alarms").textContent = said;
}

function showStatus(car) {
  showTroubles(car);
  const old = car.lists.light === "stop" ? (car.lists.each.length ? "too old" : "none") : `${Math.round(car.lists.oldest_h)} h old`;
  byId("chips").replaceChildren(
    ...car.cameras.map(cameraChip),
    chip("GPS", car.gps.light, car.gps.light === "ok" ? "fix" : "no fix"),
    chip("Clock", car.clock.light, car.clock.light === "ok" ? "trusted" : "untrusted"),
    chip("Lists", car.lists.light, old),
    chip("Permit", car.permit.light, car.permit.light === "stop" ? "lapsed" : span(car.permit.left_s)),
    chip("Queue", "ok", car.dock ? `${car.queued} · ${car.dock}` : String(car.queued)),
    chip("Session", car.session_open ? "ok" : "warn", car.session_open ? `${car.plates_read} ${car.plates_read === 1 ? "plate" : "plates"}` : "off"),
  );
}

// --- live events -----------------------------------------------------------------------------

let source;
let lastId = "";
let told = false; // by the car, whether there are alerts
let heard = performance.now();
let stale = new Set(); // cards from before a reset, not told of again yet
const alarmed = new Map(); // id -> alarm already sounded for

function offline(is) {
  byId("offline").hidden = !is;
  document.body.classList.toggle("no-connection", is);
}

function alive(event) {
  heard = performance.now();
  if (event?.lastEventId) lastId = event.lastEventId;
  offline(false);
}

function signedOff() {
  if (document.body.dataset.leaving) return; // by this person's own touch: leave.js goes on
  location.replace("/sign-on?ended=1");
}

function showAlert(card) {
  const before = cards.get(card.id);
  stale.delete(card.id);
  // The sound first: building the card takes longer than a deputy should wait for it.
  if (!["new", "withdrawn"].includes(card.state)) sounds.stop(card.id);
  else if (alarmed.get(card.id) !== card.alarm) {
    if (card.state === "withdrawn") sounds.start(card.id, "changed");
    else if (card.corrected_from || card.reason) sounds.start(card.id, "changed", card.priority);
    else sounds.start(card.id, card.priority);
  } else if (before?.state === "silenced" && card.state === "new") sounds.start(card.id, card.priority);
  if (["new", "withdrawn"].includes(card.state) && alarmed.get(card.id) !== card.alarm) tellBehind();
  alarmed.set(card.id, card.alarm);
  cards.show(card);
}

// An open dialog lies over the alerts: it says so, at a place of its own, and gives way to them at
// one touch. It does not vanish by itself, under a finger; what was typed into it stays.
function tellBehind() {
  const dialog = document.querySelector("dialog[open]");
  if (dialog) dialog.append(byId("behind"));
  byId("behind").hidden = !dialog;
}
byId("behind").addEventListener("click", () => {
  byId("behind").closest("dialog").close();
  scrollTo(0, 0);
  cards.settle();
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("close", () => { byId("behind").hidden = true; });
}

function remove(id) {
  sounds.stop(id);
  alarmed.delete(id);
  cards.remove(id);
}

function connect() {
  source = new EventSource(`/events?after=${encodeURIComponent(lastId)}`);
  const on = (name, handle) => source.addEventListener(name, (event) => {
    alive(event);
    handle(JSON.parse(event.data));
  });
  source.addEventListener("open", () => alive());
  on("reset", () => { stale = new Set(cards.ids()); });
  on("alert", showAlert);
  on("gone", ({ id }) => remove(id));
  on("status", (car) => {
    for (const id of stale) remove(id);
    stale.clear();
    setCarTime(car.now);
    if (!told) byId("empty").textContent = "No alerts"; // not claimed before the car has said so
    told = true;
    cards.steadily("status", () => {
      byId("trouble").hidden = true;
      byId("resting").hidden = car.session_open;
      byId("moving").hidden = !car.moving;
      document.body.classList.toggle("moving", car.moving);
      showSilenced(car.silenced);
      duty.show(car);
      showStatus(car);
    });
  });
  on("trouble", ({ message }) => {
    byId("trouble").textContent = message;
    byId("trouble").hidden = false;
  });
  on("signed-off", () => { source.close(); signedOff(); });
  source.addEventListener("error", () => {
    offline(true);
    // While CONNECTING the browser tries again by itself; CLOSED means the server answered no.
    if (source.readyState === EventSource.CLOSED) setTimeout(reconnect, 1000);
  });
}

async function reconnect() {
  try {
    const answer = await fetch("/session", { headers: { Accept: "application/json" } });
    if (answer.status === 401) return signedOff();
  } catch {
    // still away: connect() will fail and come back here
  }
  connect();
}

setInterval(() => { if (performance.now() - heard > SILENT_MS) offline(true); }, 500);
connect();

// --- keep the screen on ----------------------------------------------------------------------

async function stayAwake() {
  if (document.visibilityState !== "visible" || !navigator.wakeLock) return;
  try {
    await navigator.wakeLock.request("screen");
  } catch {
    // refused (power saving): the screen then follows the computer's own setting
  }
}
document.addEventListener("visibilitychange", stayAwake);
stayAwake();
