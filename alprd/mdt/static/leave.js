// Signing off: what is unresolved is settled first, or handed over with a note.
const byId = (id) => document.getElementById(id);

export function watchSignOff(csrf) {
  const dialog = byId("leaving");
  async function leave(note) {
    let answer;
    document.body.dataset.leaving = "yes"; // the stream's own word of it is not news then
    try {
      answer = await fetch("/sign-off", {
        method: "POST",
        headers: { "X-CSRF-Token": csrf, Accept: "application/json" },
        body: new URLSearchParams(note ? { note } : {}),
      });
    } catch {
      delete document.body.dataset.leaving;
      byId("leaving-why").textContent = "No connection to the plate reader.";
      if (!dialog.open) dialog.showModal();
      return;
    }
    if (answer.ok || answer.status === 401) {
      location.replace("/sign-on");
      return;
    }
    delete document.body.dataset.leaving;
    byId("leaving-why").textContent = (await answer.json()).message;
    if (!dialog.open) dialog.showModal();
  }
  byId("sign-off").closest("form").addEventListener("submit", (event) => {
    event.preventDefault();
    leave("");
  });
  byId("hand-over").addEventListener("click", () => leave(byId("leaving-note").value));
  byId("stay").addEventListener("click", () => dialog.close());
}
