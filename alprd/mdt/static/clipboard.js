// A copied plate leaves the clipboard after 30 seconds, over a reload and a sign-off too: every
// page of the car looks here. Kept is only the instant at which it is due, never the plate.
const COPIED_MS = 30000;
const DUE = "alprd-clipboard-due";
let timer;

export async function copy(text) {
  sessionStorage.setItem(DUE, String(Date.now() + COPIED_MS));
  try {
    await navigator.clipboard.writeText(text);
  } catch (error) {
    sessionStorage.removeItem(DUE);
    throw error;
  } finally {
    watch();
  }
}

function watch() {
  clearTimeout(timer);
  const due = Number(sessionStorage.getItem(DUE));
  if (due) timer = setTimeout(empty, Math.min(COPIED_MS, Math.max(0, due - Date.now())));
}

async function empty() {
  try {
    await navigator.clipboard.writeText("");
  } catch {
    // the browser allows it only while the page is in front: then as soon as it is again
    window.addEventListener("focus", empty, { once: true });
    return;
  }
  sessionStorage.removeItem(DUE);
}

watch();
