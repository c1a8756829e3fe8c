// Settling a card: picture, verification, action. One question at a time, in the policy's order;
// the server refuses any other. Nothing is kept here: what is shown is what the card says.
import { copy } from "./clipboard.js";

function button(text, run, kind = "") {
  const made = document.createElement("button");
  made.type = "button";
  made.className = `big ${kind}`;
  made.textContent = text;
  made.addEventListener("click", run);
  return made;
}

function line(text, kind = "ask") {
  const made = document.createElement("p");
  made.className = kind;
  made.textContent = text;
  return made;
}

function row(...children) {
  const made = document.createElement("div");
  made.className = "choices";
  made.append(...children);
  return made;
}

function labelled(text, field) {
  const made = document.createElement("label");
  made.append(text, field);
  return made;
}

function choice(words, first) {
  const made = document.createElement("select");
  made.append(new Option(first, ""));
  for (const [code, label] of Object.entries(words)) made.append(new Option(label, code));
  return made;
}

export class Steps {
  // words: {results, actions, reasons, cleared_reasons}; act(name, card, fields): the answer or null
  constructor(words, gateway, act, toast) {
    this.words = words;
    this.gateway = gateway;
    this.act = act;
    this.toast = toast;
  }

  // Rebuilt only when the question changes, so that nothing typed is lost to a new picture.
  show(box, card) {
    const found = card.disposition;
    const standing = card.state !== "withdrawn";
    const key = standing ? JSON.stringify([card.cleared, found, card.cleared_until, card.plate, card.settled, card.dispatched]) : "";
    if (box.dataset.key === key) return;
    box.dataset.key = key;
    const inHand = box.contains(document.activeElement);
    box.replaceChildren(...(key ? this.parts(card, found) : []));
    if (!inHand || !box.firstElementChild) return;
    // By keyboard one goes on from here. The words, no button: a second Enter must do nothing.
    const words = box.querySelector(".ask, .settled") ?? box.firstElementChild;
    words.tabIndex = -1;
    words.focus({ preventScroll: true });
  }

  // Without clearance there is one question: was dispatch told?
  dispatch(card) {
    if (card.settled) {
      const words = { true: "Dispatch was told", false: "Dispatch was not told" };
      return [line(words[card.dispatched] ?? "Settled by another person", "settled")];
    }
    return [
      line("Was dispatch told of this alert?"),
      row(
        button("Dispatched", () => this.act("dispatch", card, { dispatched: "yes" })),
        button("Not dispatched", () => this.act("dispatch", card, { dispatched: "no" })),
      ),
    ];
  }

  parts(card, found) {
    if (!card.cleared) return this.dispatch(card);
    if (found.dispatch !== null) return [line(`Dispatch was ${found.dispatch ? "" : "not "}told`, "settled")];
    const parts = [];
    if (found.note && !found.settled) parts.push(line(`Handed over: ${found.note}`, "handed"));
    if (found.settled) return [...parts, ...this.done(card, found)];
    if (found.agrees === null) return [...parts, ...this.compare(card)];
    return [...parts, ...(found.result === null ? this.verify(card) : this.action(card, found))];
  }

  compare(card) {
    return [
      line("1 · Do plate and state agree with the picture?"),
      row(
        button("Yes", () => this.act("compare", card, { agrees: "yes" })),
        button("No", () => this.act("compare", card, { agrees: "no" })),
      ),
    ];
  }

  verify(card) {
    const reference = document.createElement("input");
    reference.maxLength = 32;
    reference.autocomplete = "off";
    reference.spellcheck = false;
    const reason = choice(this.words.reasons, "choose");
    const cleared = choice(this.words.cleared_reasons, "choose");
    const why = labelled("Why not practicable", reason);
    const whyCleared = labelled("Why cleared", cleared);
    const result = choice(this.words.results, "choose");
    const tell = () => {
      why.hidden = result.value !== "not_practicable";
      whyCleared.hidden = result.value !== "cleared";
    };
    result.addEventListener("change", tell);
    tell();
    const save = button("Record result", () => this.act("verify", card, {
      result: result.value,
      reason: result.value === "cleared" ? cleared.value : result.value === "not_practicable" ? reason.value : "",
      reference: reference.value,
    }), "primary");
    const answer = line("", "answer");
    answer.hidden = true;
    answer.setAttribute("role", "status");
    const tools = [button("Copy plate", () => this.copy(card))];
    if (this.gateway) tools.push(button("Ask MNJIS/NLETS", () => this.ask(card, answer, reference)));
    const fields = row(labelled("Result", result), whyCleared, why, labelled("Reference", reference));
    fields.classList.add("verify");
    return [line("2 · Verification by MNJIS/NLETS"), fields, answer, row(...tools, save)];
  }

  action(card, found) {
    const choices = Object.entries(this.words.actions).map(([code, label]) =>
      button(label, () => this.act("action", card, { action: code })));
    return [line(`3 · Action taken (verification: ${this.words.results[found.result]})`), row(...choices)];
  }

  done(card, found) {
    const said = found.misread ? "Misread" : this.words.results[found.result];
    const acted = found.action ? ` · ${this.words.actions[found.action]}` : "";
    const parts = [line(`${said}${acted}`, "settled")];
    if (card.cleared_until) {
      const until = new Date(card.cleared_until).toLocaleTimeString("en-US", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
      parts.push(line(`${this.words.cleared_reasons[found.reason]}: no alarm for this plate until ${until}, this shift`, "settled"));
      parts.push(row(button("Alarm again", () => this.act("unclear", card))));
    }
    return parts;
  }

  async copy(card) {
    if (!(await this.act("copied", card))) return;
    try {
      await copy(card.plate);
    } catch {
      this.toast("The browser does not allow copying.");
      return;
    }
    this.toast("Plate copied; the clipboard is emptied in 30 s.");
  }

  async ask(card, box, reference) {
    box.hidden = false;
    box.textContent = "Asking…";
    const answer = await this.act("query", card);
    if (!answer) {
      box.textContent = "No answer. Verify by terminal or radio.";
      return;
    }
    const found = await answer.json();
    box.textContent = `Hot file: ${found.hot_file} · ${found.text} · ${found.registration}`;
    if (found.reference && !reference.value) reference.value = found.reference;
  }
}
