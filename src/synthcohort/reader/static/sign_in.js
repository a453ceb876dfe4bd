// A link holds its code behind "#": browsers keep that part to themselves, so that no log of any server holds it.

const form = document.getElementById("sign-in");
const code = document.getElementById("code");
const problem = document.getElementById("problem");
const button = form.querySelector("button");

async function signIn() {
  button.disabled = true;
  problem.textContent = "";
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams({ code: code.value }),
      credentials: "same-origin",
    });
    if (response.ok) {
      location.replace(response.url);
      return;
    }
    problem.textContent = { 401: form.dataset.wrong, 429: form.dataset.often }[response.status] ?? form.dataset.waiting;
  } catch {
    problem.textContent = form.dataset.waiting;
  }
  button.disabled = false;
  code.focus();
}

function takeLink() {
  const invited = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!invited) return;
  history.replaceState(null, "", location.pathname);
  code.value = invited;
  signIn();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  signIn();
});
window.addEventListener("hashchange", takeLink);
takeLink();
