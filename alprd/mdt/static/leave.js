// Signing off: how the shift's alerts came out, and what is unresolved, which is settled first or
// handed over with a note.
import { send } from "./token.js";

const byId = (id) => document.getElementById(id);
const JSON_ONLY = { Accept: "application/json" };

function outcome(list, counts, words) {
  const said = Object.entries(counts).filter(([, count]) => count)
    .map(([code, count]) => `${count} ${words.results[code] ?? "Misread"}`.toLowerCase());
  const made = document.createElement("li");
  made.textContent = `${list}: ${said.join(", ")}`;
  return made;
}

export function watchSignOff(words, toast) {
  const dialog = byId("leaving");

  function say(trouble) {
    byId("leaving-why").textContent = trouble;
    if (!dialog.open) dialog.showModal();
  }

  // The summary; false when there is nothing to tell, and nobody is to be held up by it.
  async function summary() {
    let shift;
    try {
      const answer = await fetch("/shift", { headers: JSON_ONLY });
      if (!answer.ok) return false; // the car moves: no reading now
      shift = await answer.json();
    } catch {
      return false; // leave() will say it
    }
    const lists = Object.entries(shift.by_list);
    const left = shift.unresolved.length;
    if (!lists.length && !left) return false;
    byId("leaving-outcomes").replaceChildren(...lists.map(([list, counts]) => outcome(list, counts, words)));
    byId("leaving-note").closest("label").hidden = !left;
    byId("stay").textContent = left ? "Go back and settle them" : "Go back";
    byId("hand-over").textContent = left ? "Hand over and sign off" : "Sign off now";
    const open = left === 1
      ? "1 alert is unresolved: settle it or hand it over."
      : `${left} alerts are unresolved: settle them or hand them over.`;
    say(left ? open : "Every alert is settled.");
    return true;
  }

  async function leave(note) {
    let answer;
    document.body.dataset.leaving = "yes"; // the stream's own word of it is not news then
    try {
      answer = await send("/sign-off", note ? { note } : {});
    } catch {
      delete document.body.dataset.leaving;
      toast("Not signed off: no connection to the plate reader.");
      return;
    }
    if (answer.ok || answer.status === 401) {
      location.replace("/sign-on");
      return;
    }
    delete document.body.dataset.leaving;
    const { message, remedy } = await answer.json();
    if (document.body.classList.contains("moving")) return toast(`Not done: ${message} (${remedy})`);
    if (!(await summary())) say(message);
    byId("leaving-why").textContent = message;
  }

  byId("sign-off").closest("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    byId("leaving-note").value = "";
    if (!(await summary())) leave("");
  });
  byId("hand-over").addEventListener("click", () => leave(byId("leaving-note").value));
  byId("leaving-note").addEventListener("keydown", (event) => {
    if (event.key === "Enter") byId("hand-over").click();
  });
  byId("stay").addEventListener("click", () => dialog.close());
}
