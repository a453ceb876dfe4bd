// Talking to the server through a connection that may fail: what must arrive is sent until it does.

const main = document.getElementById("content");
const WAITS = [500, 1000, 2000, 4000];

export const AGAIN = new Set([408, 429, 500, 502, 503, 504, 507]);

// Return the first response that is an answer; call `waiting(why)` before each further try.
// `why` is the text to show of a server that cannot answer, or null where there is no connection.
export async function surely(path, options, waiting) {
  for (let tries = 0; ; tries++) {
    let why = null;
    try {
      const response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
      if (!AGAIN.has(response.status)) return response;
      why = response.status === 507 ? "not_stored" : "busy";
    } catch {
      // no connection
    }
    waiting(why);
    await pause(WAITS[Math.min(tries, WAITS.length - 1)]);
  }
}

export function posting(content) {
  return {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": main.dataset.csrf },
    body: JSON.stringify(content),
  };
}

// Tell the server something that may get lost.
export function mention(path, content) {
  fetch(path, { credentials: "same-origin", keepalive: true, ...posting(content) }).catch(() => {});
}

function pause(milliseconds) {
  return new Promise((resolve) => {
    const go = () => {
      clearTimeout(timer);
      window.removeEventListener("online", go);
      resolve();
    };
    const timer = setTimeout(go, milliseconds);
    window.addEventListener("online", go);
  });
}
