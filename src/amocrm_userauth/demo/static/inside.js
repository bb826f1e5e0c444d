// The panels beside the phone: buttons that make things happen, and what happens inside.
import { call, session } from "./api.js";
import { loadHome, loadLeads, onChange } from "./phone.js";

const $ = (id) => document.getElementById(id);
const EVERY = 1000;
const HINT = /^(Log in|Connect amoCRM|Connected\. Now)/;
const LANES = { you: "You", phone: "App", amocrm: "amoCRM", library: "Library" };

let seen = "";
let inside = { down: false, exchanges: 0, refreshes: 0, row: [], log: [] };
let working = false;
let asking = null;

export function start() {
  $("do-day").addEventListener("click", () => act(day));
  $("do-tabs").addEventListener("click", () => act(tabs));
  $("do-outage").addEventListener("click", () => act(inside.down ? up : down));
  $("do-revoke").addEventListener("click", () => act(revoke));
  onChange(refresh);
  refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
}

async function act(action) {
  working = true;
  enable();
  $("outcome").textContent = "…";
  $("outcome").textContent = await action();
  working = false;
  await refresh();
}

async function day() {
  const before = (await refresh()).refreshes;
  const done = await call("POST", "/demo/day");
  if (!done.ok) return done.message;
  const leads = await loadLeads();
  if (!leads) return "A day has passed.";
  const spent = (await refresh()).refreshes - before;
  if (leads.ok) return `A day has passed, the token had expired. The next call led to ${counted(spent, "refresh", "refreshes")}, and the leads came.`;
  return `A day has passed. ${unanswered(leads)}`;
}

async function tabs() {
  const done = await call("POST", "/demo/tabs");
  if (!done.ok) return done.message;
  const { asked, answered, refreshes, different_tokens: tokens } = done.data;
  await loadHome();
  if (!answered) return `${asked} tabs asked, and ${inside.down ? "amoCRM is down" : "there is no grant"}: all of them were told so, calmly.`;
  return `The token had expired and ${asked} tabs asked at once: ${counted(answered, "answer", "answers")}, ${counted(refreshes, "refresh", "refreshes")}, ${counted(tokens, "token", "different tokens")}.`;
}

async function down() {
  const done = await call("POST", "/demo/down");
  if (!done.ok) return done.message;
  await loadLeads();
  return "amoCRM is down. The app says so and stays connected; let a day pass and it still does.";
}

async function up() {
  const done = await call("POST", "/demo/up");
  if (!done.ok) return done.message;
  const leads = await loadLeads();
  if (!leads || leads.ok) return "amoCRM is back. Nothing was lost.";
  return `amoCRM is back. ${unanswered(leads)}`;
}

async function revoke() {
  const done = await call("POST", "/demo/revoke");
  if (!done.ok) return done.message;
  const leads = await loadLeads();
  if (leads?.status === 409) return "An administrator ended the access at amoCRM. The app asks this user, and nobody else, to connect again.";
  return leads ? unanswered(leads) : "The access was ended at amoCRM.";
}

function unanswered(answer) {
  if (answer.status === 409) return "amoCRM has ended the access: the app asks to connect again.";
  const when = answer.retryAfter ? ` It is asked again in ${answer.retryAfter} s at the earliest.` : "";
  return (inside.down ? "amoCRM is down, the connection survives." : `${answer.message}.`) + when;
}

function counted(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

// One question at a time; who asks meanwhile gets the next answer.
async function refresh() {
  const before = asking;
  const mine = (async () => { await before; return read(); })();
  asking = mine;
  const result = await mine;
  if (asking === mine) asking = null;
  return result;
}

async function read() {
  const answer = await call("GET", "/demo/inside");
  if (answer.ok) {
    inside = answer.data;
    paint();
  } else if (answer.status === 0) {
    $("outcome").textContent = answer.message;
  }
  return inside;
}

function paint() {
  enable();
  const now = JSON.stringify([inside, session()?.id]);
  if (now === seen) return;
  seen = now;
  $("count-exchanges").textContent = inside.exchanges;
  $("count-refreshes").textContent = inside.refreshes;
  $("amocrm-state").textContent = inside.down ? "down" : "up";
  $("amocrm-state").className = inside.down ? "bad" : "";
  $("do-outage").textContent = inside.down ? "Bring amoCRM back" : "Take amoCRM down";
  $("do-outage").setAttribute("aria-pressed", String(inside.down));
  paintLog();
  paintRow();
}

function enable() {
  const player = Boolean(session());
  const refused = inside.row.some((field) => field.name === "reauth_reason" && field.tone === "bad");
  const connected = player && inside.row.length > 0 && !refused;
  for (const id of ["do-day", "do-outage"]) $(id).disabled = working || !player;
  for (const id of ["do-tabs", "do-revoke"]) $(id).disabled = working || !connected;
  const hint = !player ? "Log in on the phone to begin." : connected ? "Connected. Now press a button here." : "Connect amoCRM on the phone, then press a button here.";
  if (!player || HINT.test($("outcome").textContent)) $("outcome").textContent = hint;
}

function paintLog() {
  const list = $("log");
  $("log-empty").hidden = inside.log.length > 0;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.replaceChildren(...inside.log.map(line));
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function line(entry) {
  const item = element("li", `line lane-${entry.lane} ${entry.tone}`);
  const text = element("span", "text", entry.text);
  if (entry.count > 1) text.append(" ", element("b", "times", `× ${entry.count}`));
  const time = new Date(entry.at * 1000).toLocaleTimeString("en-GB");
  item.append(element("time", "", time), element("span", "lane", LANES[entry.lane]), text, element("span", "user", entry.user));
  return item;
}

function paintRow() {
  $("row-empty").hidden = inside.row.length > 0;
  $("row").replaceChildren(...inside.row.map((field) => {
    const pair = element("div", field.tone);
    pair.append(element("dt", "", field.name), element("dd", "", field.value));
    return pair;
  }));
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}
