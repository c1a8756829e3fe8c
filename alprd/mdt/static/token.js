// The token that every act brings along. A second sign-on of the same person, in another tab, gives
// this browser a new sign-on: the page then goes on with its token, and asks nobody to load it anew.
let csrf = document.querySelector("meta[name=csrf]").content;
const signedOn = document.querySelector("meta[name=signed-on]").content;

// Send an act; once more when the token was that of a former sign-on of the same person and duty.
export async function send(path, fields) {
  const once = () => fetch(path, {
    method: "POST",
    headers: { "X-CSRF-Token": csrf, Accept: "application/json" },
    body: new URLSearchParams(fields),
  });
  const answer = await once();
  if (answer.status !== 403 || (await answer.clone().json()).error !== "csrf") return answer;
  const session = await fetch("/session", { headers: { Accept: "application/json" } });
  if (!session.ok) return session;
  const now = await session.json();
  if (now.signed_on !== signedOn) {
    location.reload(); // somebody else, or for another purpose: nothing here is theirs
    return answer;
  }
  csrf = now.csrf;
  return once();
}
