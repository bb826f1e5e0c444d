"""The page on which a user allows or denies an integration's access."""

from html import escape
from urllib.parse import parse_qsl

from amocrm_userauth.testing._fake.model import Client
from amocrm_userauth.testing._fake.replies import Ask, Reply, redirect
from amocrm_userauth.testing._fake.world import World

__all__ = ["consent_page", "redirect_of"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fake amoCRM: allow access</title><link rel="icon" href="data:,">
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem;background:#eef1f6;color:#152033}}
main{{max-width:24rem;margin:auto;padding:1.5rem;border-radius:1rem;background:#fff;box-shadow:0 .5rem 2rem #0b132b22}}
h1{{font-size:1.3rem;margin:0}}p{{color:#56627a;margin:.5rem 0 0;overflow-wrap:anywhere}}
label{{display:block;font-weight:600;margin:1rem 0 .25rem}}
input{{font:inherit;width:100%;padding:.6rem;box-sizing:border-box;border:1px solid #76819a;border-radius:.5rem}}
div{{display:flex;gap:.75rem;margin-top:1.5rem}}button{{font:inherit;font-weight:600;flex:1;padding:.7rem;border:0;
border-radius:.6rem;background:#e8ecf5;color:inherit;cursor:pointer}}[value=allow]{{background:#2457d6;color:#fff}}</style>
</head>
<body><main><h1>Fake amoCRM</h1><p>The integration <code>{client_id}</code> asks for access to your account.</p>
<form method="post" action="/oauth"><input type="hidden" name="client_id" value="{client_id}">{state}
<label for="user">User of amoCRM</label><input id="user" name="user" list="users" value="{user}" required>
<datalist id="users">{users}</datalist>
<label for="account">Account</label><input id="account" name="account" list="accounts" value="{account}" required>
<datalist id="accounts">{accounts}</datalist>
<div><button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button></div></form>
</main></body></html>
"""


def consent_page(world: World, ask: Ask) -> Reply:
    """Show the form (GET), or send the browser back with the decision (POST)."""
    form = dict(parse_qsl(ask.body.decode(errors="replace"), keep_blank_values=True)) if ask.method == "POST" else {}
    params = form or ask.query
    client = world.clients.get(params.get("client_id", ""))
    if client is None:
        return Reply(404, b"<h1>Fake amoCRM</h1><p>No integration has this client_id.</p>", "text/html; charset=utf-8")
    if ask.method != "POST":
        return _form(world, client, params)
    if not form.get("user") or not form.get("account") or form.get("decision") not in {"allow", "deny"}:
        return Reply(400, b"<h1>Fake amoCRM</h1><p>Choose a user, an account and a decision.</p>", "text/html")
    allowed = form["decision"] == "allow"
    params = redirect_of(world, client, form["user"], form["account"], form.get("state"), allowed=allowed)
    return redirect(client.redirect_uri, **params)


def redirect_of(
    world: World, client: Client, user: str, account: str, state: str | None, *, allowed: bool
) -> dict[str, str]:
    """Return the parameters of the redirect after a decision."""
    sent = {} if state is None else {"state": state}
    if not allowed:
        return {"error": "access_denied", "client_id": client.client_id, **sent}
    code = world.consent(client, user, account)
    return {"code": code.value, **sent, "referer": code.account.host, "client_id": client.client_id}


def _form(world: World, client: Client, params: dict[str, str]) -> Reply:
    people = list(world.people) or ["anna"]
    accounts = [known.subdomain for known in world.accounts if known.suffix == client.suffix] or ["example"]
    state = params.get("state")
    page = _PAGE.format(
        client_id=escape(client.client_id),
        state="" if state is None else f'<input type="hidden" name="state" value="{escape(state)}">',
        user=escape(people[0]),
        account=escape(accounts[0]),
        users="".join(f'<option value="{escape(name)}">' for name in people),
        accounts="".join(f'<option value="{escape(name)}">' for name in accounts),
    )
    return Reply(200, page.encode(), "text/html; charset=utf-8")
