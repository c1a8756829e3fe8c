// The alert cards: built from the template, kept in order, never moved under a finger.
const RANK = { high: 0, medium: 1, low: 2 };
const STATES = { new: "NEW", silenced: "SILENCED", acknowledged: "ACKNOWLEDGED", withdrawn: "WITHDRAWN" };
const SETTLE_MS = 400; // buttons rest this long after cards have moved
const MISSED_MS = 1500; // after a picture that did not come
const HELD_MS = 2000; // a finger holds the page still for so long at most: an alert cannot wait for it

const clock = new Intl.DateTimeFormat("en-US", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

let ahead = 0; // by how many ms this browser's clock is ahead of the car's

export function setCarTime(now) {
  ahead = Date.now() - Date.parse(now);
}

function ago(instant) {
  const seconds = Math.max(0, Math.round((Date.now() - ahead - instant) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

function age(hours) {
  return hours < 1 ? `${Math.round(hours * 60)} min old` : `${Math.round(hours)} h old`;
}

function characters(box, text, differing, doubtful = new Set()) {
  box.replaceChildren(...[...text].map((character, at) => {
    const cell = document.createElement("span");
    cell.textContent = character;
    cell.classList.toggle("differs", differing.has(at));
    cell.classList.toggle("open", doubtful.has(at));
    return cell;
  }));
  box.style.setProperty("--columns", String(Math.max(1, text.length)));
  box.setAttribute("aria-label", [...text].join(" "));
}

function loud(card) {
  if (card.state === "withdrawn") return `WITHDRAWN. Do not act on it. ${card.reason ?? ""}`;
  if (card.corrected_from && card.corrected_from === card.plate) {
    // The text stands; what was read anew is the state, and with it the kind of match.
    return `CORRECTED: state now read as ${card.region_read ?? "unknown"}, listed ${card.region_listed ?? "unknown"}`;
  }
  if (card.corrected_from) return `CORRECTED: first read ${card.corrected_from}, now ${card.plate}`;
  return card.reason ?? "";
}

export class Cards {
  constructor(box, empty, template, act, steps) {
    this.steps = steps;
    this.box = box;
    this.empty = empty;
    this.template = template;
    this.act = act; // (name, card) -> Promise
    this.cards = new Map(); // id -> {card, element}
    this.down = -Infinity; // when the finger went down
    this.acting = ""; // id of the card last touched: it stays in sight where it goes
    this.above = document.getElementById("above");
    this.above.addEventListener("click", () => { scrollTo(0, 0); this.settle(); });
    document.addEventListener("scroll", () => this.tellAbove(), { passive: true });
    window.addEventListener("resize", () => this.tellAbove());
    this.waiting = new Map(); // changes that would move something under it
    document.addEventListener("pointerdown", () => {
      this.down = performance.now();
      setTimeout(() => this.catchUp(), HELD_MS);
    }, true);
    for (const kind of ["pointerup", "pointercancel"]) {
      document.addEventListener(kind, () => {
        this.down = -Infinity;
        setTimeout(() => this.catchUp(), 50); // after the click of this touch
      }, true);
    }
    setInterval(() => this.tellAges(), 1000);
  }

  get(id) {
    return this.cards.get(id)?.card;
  }

  ids() {
    return [...this.cards.keys()];
  }

  show(card) {
    const element = this.cards.get(card.id)?.element ?? this.build(card.id);
    this.cards.set(card.id, { card, element });
    this.steadily(card.id, () => {
      this.fill(element, card);
      this.arrange();
    });
  }

  remove(id) {
    const element = this.cards.get(id)?.element;
    this.cards.delete(id);
    this.steadily(id, () => {
      element?.remove();
      this.arrange();
    });
  }

  // Change the page, unless a finger is on it: then as soon as it is lifted. Buttons rest for a
  // moment whenever a change has moved a card.
  steadily(key, change) {
    if (performance.now() - this.down < HELD_MS) {
      this.waiting.delete(key);
      this.waiting.set(key, change);
      return;
    }
    const before = this.places();
    change();
    if (this.places() !== before) this.settle();
    this.tellAbove();
  }

  catchUp() {
    if (performance.now() - this.down < HELD_MS) return;
    const changes = [...this.waiting.values()];
    this.waiting.clear();
    if (changes.length) this.steadily("", () => { for (const change of changes) change(); });
  }

  // Where everything stands that a finger may be on its way to.
  places() {
    return [...this.box.querySelectorAll(".card button, .card select, .card input")]
      .map((one) => { const { top, left } = one.getBoundingClientRect(); return `${top} ${left}`; }).join();
  }

  // A finger on its way to a button must not hit what has slid under it.
  settle() {
    this.box.classList.add("settling");
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.box.classList.remove("settling"), SETTLE_MS);
  }

  build(id) {
    const element = this.template.content.firstElementChild.cloneNode(true);
    element.dataset.id = id;
    const slot = (name) => element.querySelector(`[data-slot="${name}"]`);
    this.fetches(slot("plate"), slot("noplate"));
    this.fetches(slot("wide"), slot("nowide"));
    const plate = slot("plate");
    plate.addEventListener("load", () => {
      plate.parentElement.style.setProperty("--ratio", String(plate.naturalWidth / plate.naturalHeight));
    });
    for (const button of element.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => this.act(button.dataset.act, this.get(id)));
    }
    return element;
  }

  fill(element, card) {
    const slot = (name) => element.querySelector(`[data-slot="${name}"]`);
    const differing = new Set(card.differing ?? []);
    element.dataset.state = card.state;
    element.dataset.priority = card.priority;
    element.dataset.kind = card.kind ?? "";
    element.classList.toggle("uncleared", !card.cleared);
    slot("priority").textContent = card.priority;
    slot("category").textContent = card.category_label ?? card.text;
    slot("count").textContent = card.count > 1 ? `seen ${card.count}×` : "";
    slot("state").textContent = STATES[card.state];
    const news = loud(card);
    slot("loud").textContent = news;
    slot("loud").hidden = !news;
    this.tellAge(slot("when"), card);
    if (card.cleared) {
      this.picture(slot("plate"), slot("noplate"), card.pictures.plate, "The picture is destroyed");
      this.picture(slot("wide"), slot("nowide"), card.pictures.wide, "No wide picture");
      characters(slot("read"), card.read, differing, new Set(card.open));
      characters(slot("listed"), card.listed, differing);
      slot("kind").textContent = card.kind_label;
      slot("states").textContent =
        `State read: ${card.region_read ?? "unknown"} · listed: ${card.region_listed ?? "unknown"}`;
      slot("type").textContent = card.plate_type_label;
      slot("type").hidden = !card.plate_type_label;
      slot("open").textContent = card.open_label;
      slot("open").hidden = !card.open_label;
      slot("text").textContent = card.text;
      slot("source").textContent = `${card.source} · list ${age(card.list_age_h)} · ${card.camera} camera`;
    } else {
      slot("text").textContent = card.text;
      slot("source").textContent = `${card.camera} camera`;
    }
    const silence = element.querySelector("[data-act=silence], [data-act=unsilence]");
    silence.dataset.act = card.state === "silenced" ? "unsilence" : "silence";
    silence.textContent = card.state === "silenced" ? "Sound again" : "Silence";
    silence.hidden = !["new", "silenced"].includes(card.state);
    const acknowledge = element.querySelector("[data-act=acknowledge]");
    acknowledge.hidden = card.state === "acknowledged";
    const settled = card.disposition?.settled ?? card.settled ?? false;
    element.classList.toggle("done", settled);
    const misread = element.querySelector("[data-act=misread]");
    misread.hidden = !card.cleared || card.state === "withdrawn" || settled || Boolean(card.disposition.result);
    const category = element.querySelector("[data-act=category]");
    category.hidden = silence.hidden || !card.cleared || card.priority === "high";
    this.steps.show(slot("steps"), card);
    const left = card.state === "acknowledged" && !settled;
    slot("state").textContent = left ? "UNRESOLVED" : settled ? "SETTLED" : STATES[card.state];
    element.setAttribute("aria-label",
      `${STATES[card.state]} ${card.priority} ${card.category_label ?? card.text} ${[...(card.plate ?? "")].join(" ")}`);
  }

  picture(image, none, address, without) {
    if (!address) {
      image.removeAttribute("src");
      none.textContent = without;
    } else if (image.dataset.address !== address) image.src = address;
    image.dataset.address = address ?? "";
    image.hidden = !address || Boolean(image.dataset.missed);
    none.hidden = !image.hidden;
  }

  // A picture that the connection has lost is said to be missing, and asked for again.
  fetches(image, none) {
    image.addEventListener("load", () => {
      delete image.dataset.missed;
      image.hidden = false;
      none.hidden = true;
    });
    image.addEventListener("error", () => {
      if (!image.dataset.address) return;
      const missed = Number(image.dataset.missed ?? 0) + 1;
      image.dataset.missed = String(missed);
      image.hidden = true;
      none.hidden = false;
      none.textContent = "The picture has not come yet";
      setTimeout(() => { if (image.dataset.address) image.src = image.dataset.address; },
        Math.min(MISSED_MS * missed, 10 * MISSED_MS));
    });
  }

  tellAge(box, card) {
    const instant = Date.parse(card.instant);
    box.textContent = card.time_trusted
      ? `${clock.format(instant)} · ${ago(instant)}`
      : `${clock.format(instant)} · time not trusted`;
  }

  tellAges() {
    for (const { card, element } of this.cards.values()) {
      this.tellAge(element.querySelector('[data-slot="when"]'), card);
    }
  }

  // A new alert must not stand unseen above what is being worked on.
  tellAbove() {
    const edge = this.above.parentElement.getBoundingClientRect().bottom;
    this.above.hidden = ![...this.cards.values()].some(({ card, element }) =>
      card.state === "new" && element.isConnected && element.getBoundingClientRect().bottom < edge + 60);
  }

  // Open, then unresolved, then settled; high before low, newest first.
  order() {
    const done = (card) => (card.state !== "acknowledged" ? 0 : card.disposition?.settled ? 2 : 1);
    const key = ({ card }) => [done(card), RANK[card.priority], -card.alarm];
    return [...this.cards.values()].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      return x[0] - y[0] || x[1] - y[1] || x[2] - y[2];
    });
  }

  arrange() {
    this.empty.hidden = this.cards.size > 0;
    const wanted = this.order().map(({ element }) => element);
    const present = [...this.box.querySelectorAll(".card")];
    if (wanted.length === present.length && wanted.every((element, at) => element === present[at])) return;
    const typing = document.activeElement; // a card that moves would lose what is typed next
    wanted.forEach((element, at) => {
      const here = this.box.querySelectorAll(".card")[at];
      if (here !== element) this.box.insertBefore(element, here ?? null);
    });
    const touched = this.cards.get(this.acting);
    if (touched?.card.state === "acknowledged" && !touched.card.disposition?.settled) {
      touched.element.scrollIntoView({ block: "end" });
    }
    this.acting = "";
    if (this.box.contains(typing) && typing !== document.activeElement) typing.focus({ preventScroll: true });
  }
}
