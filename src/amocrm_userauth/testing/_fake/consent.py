"""The page on which a user allows or denies an integration's access."""

from html import escape
from urllib.parse import parse_qsl

from amocrm_userauth.testing._fake.model import Client
from amocrm_userauth.testing._fake.replies import Ask, Reply, redirect
from amocrm_userauth.testing._fake.world import World

__all__ = ["consent_page", "redirect_of"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Fake amoCRM: allow access</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem;color:#222}}
label{{display:block;margin:1rem 0 .25rem}}input{{font:inherit;width:100%;padding:.5rem;box-sizing:border-box}}
button{{font:inherit;padding:.6rem 1.4rem;margin:1.5rem .5rem 0 0}}</style></head>
<body><h1>Fake amoCRM</h1><p>The integration <code>{client_id}</code> asks for access to your account.</p>
<form method="post" action="/oauth"><input type="hidden" name="client_id" value="{client_id}">{state}
<label for="user">User of amoCRM</label><input id="user" name="user" list="users" value="{user}" required>
<datalist id="users">{users}</datalist>
<label for="account">Account</label><input id="account" name="account" list="accounts" value="{account}" required>
<datalist id="accounts">{accounts}</datalist>
<button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button></form>
</body></html>
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
