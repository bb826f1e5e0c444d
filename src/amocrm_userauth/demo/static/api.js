// Calls to the backend as the logged-in user. The session is the application's own, and this tab's alone.
const KEY = "demo-session";

export function session() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

export function keepSession(value) {
  if (value) sessionStorage.setItem(KEY, JSON.stringify(value));
  else sessionStorage.removeItem(KEY);
}

// Returns {ok, status, data, code, message, retryAfter}; never throws.
export async function call(method, path, body) {
  const headers = {};
  const current = session();
  if (current) headers.Authorization = `Bearer ${current.session}`;
  if (method === "POST") headers["Content-Type"] = "application/json";
  const options = { method, headers, cache: "no-store" };
  if (method === "POST") options.body = JSON.stringify(body ?? {});
  try {
    const response = await fetch(path, options);
    const data = await response.json().catch(() => null);
    return answer(response, data);
  } catch {
    return { ok: false, status: 0, data: null, code: "no_backend", message: "The demo is not running any more.", retryAfter: 0 };
  }
}

function answer(response, data) {
  return {
    ok: response.ok,
    status: response.status,
    data,
    code: data?.error?.code ?? "",
    message: data?.error?.message ?? "Something went wrong.",
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  };
}
