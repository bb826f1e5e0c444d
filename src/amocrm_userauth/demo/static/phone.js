// The mobile app: its screens, and what it asks of the backend.
import { call, keepSession, session } from "./api.js";

const AMO = "/api/amo-crm";
const $ = (id) => document.getElementById(id);
const VIEWS = ["start", "login", "busy", "home"];

let pending = null; // what the deep link brought, until it is posted
let countdown = 0;
const listeners = [];

export function onChange(listener) {
  listeners.push(listener);
}

function changed() {
  for (const listener of listeners) listener();
}

export function start() {
  pending = takeDeepLink();
  for (const button of document.querySelectorAll("[data-user]")) button.addEventListener("click", () => logIn(button.dataset.user));
  $("logout").addEventListener("click", () => logOut());
  $("connect").addEventListener("click", connect);
  $("disconnect").addEventListener("click", () => $("confirm").showModal());
  $("confirm-no").addEventListener("click", () => $("confirm").close());
  $("confirm-yes").addEventListener("click", disconnect);
  $("reload").addEventListener("click", () => loadLeads());
  $("again").addEventListener("click", () => loadHome());
  // Back from amoCRM's page by the browser's own button.
  window.addEventListener("pageshow", (event) => { if (event.persisted) enter(); });
  enter();
}

// An app is opened by its link with the code; here the link is this page. The code must not stay in the address bar.
function takeDeepLink() {
  const query = new URLSearchParams(location.search);
  if (location.search || location.pathname !== "/") history.replaceState(null, "", "/");
  if (!query.has("code") && !query.has("error")) return null;
  return Object.fromEntries(["code", "state", "referer", "error"].filter((name) => query.has(name)).map((name) => [name, query.get(name)]));
}

function show(view, { focus = true } = {}) {
  for (const name of VIEWS) $(`view-${name}`).hidden = name !== view;
  const current = session();
  $("who").textContent = current ? current.name : "";
  $("logout").hidden = !current;
  if (focus) $(`view-${view}`).querySelector("h2")?.focus({ preventScroll: true });
  changed();
}

function busy(text) {
  $("busy-text").textContent = text;
  show("busy");
}

async function enter() {
  if (!session()) {
    if (pending) tell("login-notice", "Log in as the user who began to connect.", "warn");
    show("login", { focus: false });
  } else if (pending) {
    await finishConnecting();
  } else {
    await loadHome();
  }
}

async function logIn(user) {
  const answer = await call("POST", "/api/login", { user });
  if (!answer.ok) {
    tell("login-notice", answer.message, "bad");
    return;
  }
  keepSession(answer.data);
  quiet("login-notice");
  quiet("notice");
  await enter();
}

function logOut(text = "") {
  keepSession(null);
  pending = null;
  $("leads").replaceChildren();
  if (text) tell("login-notice", text, "warn");
  else quiet("login-notice");
  show("login");
}

async function connect() {
  busy("Opening amoCRM…");
  const answer = await call("GET", `${AMO}/authorize-url`);
  if (answer.ok) {
    location.assign(answer.data.data.url);
    return;
  }
  tell("notice", answer.message, "bad");
  await loadHome();
}

async function finishConnecting() {
  const brought = pending;
  pending = null;
  if (brought.error) {
    tell("notice", "You did not allow the access. Nothing was changed.", "warn");
  } else {
    busy("Connecting…");
    const answer = await call("POST", `${AMO}/exchange-code`, brought);
    if (answer.ok) tell("notice", "amoCRM is connected.", "good");
    else tell("notice", `amoCRM was not connected: ${answer.message}`, "bad");
  }
  await loadHome({ keepNotice: true });
}

async function disconnect() {
  $("confirm").close();
  const answer = await call("POST", `${AMO}/disconnect`);
  tell("notice", answer.ok ? "amoCRM is disconnected." : answer.message, answer.ok ? "good" : "bad");
  await loadHome({ keepNotice: true });
}

// Reads the status and shows it; asks for the leads if there is a connection.
export async function loadHome({ keepNotice = false } = {}) {
  if (!keepNotice) quiet("notice");
  const status = await readStatus();
  if (status?.connected) await loadLeads({ keepNotice: true });
}

async function readStatus() {
  const answer = await call("GET", `${AMO}/status`);
  if (answer.status === 401) {
    logOut("The session is over. Log in again.");
    return null;
  }
  if (!answer.ok) {
    tell("notice", answer.message, "bad", { again: true });
    show("home", { focus: false });
    return null;
  }
  paint(answer.data.data);
  const first = $("view-home").hidden;
  show("home", { focus: first });
  return answer.data.data;
}

function paint(status) {
  const { connected, hasTokens, domain, accountId } = status;
  const lost = hasTokens && !connected;
  $("badge").textContent = connected ? "Connected" : lost ? "Connect again" : "Not connected";
  $("badge").className = `badge ${connected ? "good" : lost ? "warn" : ""}`;
  $("about").textContent = connected
    ? "Calls to amoCRM run with your own account."
    : lost
      ? "amoCRM has ended this access. Only you can renew it: connect again."
      : "Connect your own amoCRM account to see your leads here.";
  $("facts").hidden = !hasTokens;
  $("fact-domain").textContent = domain;
  $("fact-account").textContent = accountId;
  $("hint").hidden = connected;
  $("hint").textContent = `On amoCRM’s page choose a user, for example ${session().id}, and allow the access.`;
  $("connect").hidden = connected;
  $("connect").textContent = lost ? "Connect again" : "Connect amoCRM";
  $("disconnect").hidden = !hasTokens;
  $("leads-part").hidden = !connected;
  if (!connected) $("leads").replaceChildren();
}

// Returns the answer, so that who caused this call can say what came of it.
export async function loadLeads({ keepNotice = false } = {}) {
  if (!session() || $("leads-part").hidden) return null;
  $("reload").disabled = true;
  const answer = await call("GET", "/api/leads");
  $("reload").disabled = false;
  if (answer.ok) {
    if (!keepNotice) quiet("notice");
    listLeads(answer.data);
  } else if (answer.status === 409) {
    quiet("notice");
    await readStatus();
  } else {
    tell("notice", calmly(answer), "warn", { again: true, wait: answer.retryAfter });
  }
  changed();
  return answer;
}

function calmly(answer) {
  if (answer.code === "amocrm_unavailable") return "amoCRM does not answer right now. You stay connected.";
  return answer.message;
}

function listLeads(leads) {
  const format = new Intl.NumberFormat("en");
  $("leads").replaceChildren(...leads.map((lead) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    const price = document.createElement("b");
    name.textContent = lead.name;
    price.textContent = format.format(lead.price);
    item.append(name, price);
    return item;
  }));
}

function quiet(id) {
  $(id).hidden = true;
  if (id === "notice") clearInterval(countdown);
}

function tell(id, text, tone, { again = false, wait = 0 } = {}) {
  const place = $(id);
  (id === "notice" ? $("notice-text") : place).textContent = text;
  place.className = `notice ${tone}`;
  place.hidden = false;
  if (id === "notice") offerAgain(again, wait);
}

function offerAgain(again, wait) {
  clearInterval(countdown);
  $("again").hidden = !again;
  let left = wait;
  const tick = () => {
    $("again").disabled = left > 0;
    $("again").textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left <= 0) clearInterval(countdown);
    left -= 1;
  };
  countdown = setInterval(tick, 1000);
  tick();
}
