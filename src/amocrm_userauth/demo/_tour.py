"""The tour without a browser: each step does something, and checks that it came out as promised."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from amocrm_userauth.demo._phone import Phone
from amocrm_userauth.demo._server import Demo
from amocrm_userauth.demo._stage import A_DAY, TABS

__all__ = ["TourFailed", "tour"]

_BAD_REQUEST, _CONFLICT, _UNAVAILABLE = 400, 409, 503


class TourFailed(Exception):
    """A step came out otherwise than promised. Its text says which and how; it holds no secret."""


@dataclass(frozen=True, slots=True)
class _Scene:
    demo: Demo
    maria: Phone
    ivan: Phone

    def refreshes(self) -> int:
        return self.demo.fake.token_calls(grant_type="refresh_token")


def tour(demo: Demo) -> Iterator[str]:
    """Walk through the running demonstration and yield each step that came out right.

    Raises:
        TourFailed: one did not.

    """
    with ExitStack() as stack:
        maria, ivan = (stack.enter_context(Phone(demo.url)) for _ in range(2))
        scene = _Scene(demo, maria, ivan)
        for title, step in _STEPS:
            try:
                step(scene)
            except TourFailed as failure:
                failed = f"{title}: {failure}"
            except Exception as error:  # noqa: BLE001 - its text may hold an address with a code
                failed = f"{title}: {type(error).__name__}"
            else:
                yield title
                continue
            raise TourFailed(failed)


def _expect(what: str, wanted: object, found: object) -> None:
    if found != wanted:
        msg = f"{what} should be {wanted!r}, but is {found!r}"
        raise TourFailed(msg)


def _log_in(scene: _Scene) -> None:
    for user, phone in (("maria", scene.maria), ("ivan", scene.ivan)):
        status = phone.log_in(user).status()
        _expect("connected", (False, False), (status["connected"], status["hasTokens"]))


def _deny(scene: _Scene) -> None:
    brought = scene.maria.consent(user="maria", allow=False)
    _expect("the deep link's error", "access_denied", brought.get("error"))
    _expect("connected", False, scene.maria.status()["connected"])  # noqa: FBT003 - a value, not a switch


def _foreign_code(scene: _Scene) -> None:
    brought = scene.maria.consent(user="maria")
    refused = scene.ivan.exchange(brought)
    _expect("the refusal", (_BAD_REQUEST, "invalid_state"), (refused.status_code, refused.json()["error"]["code"]))
    _expect("exchanges", 0, scene.demo.fake.token_calls(grant_type="authorization_code"))


def _connect(scene: _Scene) -> None:
    for user, phone in (("maria", scene.maria), ("ivan", scene.ivan)):
        phone.connect(user=user)
        status = phone.status()
        _expect("connected", (True, True), (status["connected"], status["hasTokens"]))
        _expect("domain", scene.demo.fake.host(user), status["domain"])


def _leads(scene: _Scene) -> None:
    for user, phone in (("maria", scene.maria), ("ivan", scene.ivan)):
        leads = phone.leads()
        _expect("leads of this user alone", True, bool(leads) and all(lead.endswith(user) for lead in leads))  # noqa: FBT003


def _day(scene: _Scene) -> None:
    before = scene.refreshes()
    scene.maria.post("/demo/day").raise_for_status()
    scene.maria.leads()
    scene.maria.leads()
    _expect("refreshes", 1, scene.refreshes() - before)


def _rejected(scene: _Scene) -> None:
    before = scene.refreshes()
    scene.demo.fake.expire("maria")
    scene.maria.leads()
    _expect("refreshes", 1, scene.refreshes() - before)


def _tabs(scene: _Scene) -> None:
    tabs = scene.maria.post("/demo/tabs").raise_for_status().json()
    _expect("answers, refreshes, tokens", (TABS, 1, 1), (tabs["answered"], tabs["refreshes"], tabs["different_tokens"]))


def _outage(scene: _Scene) -> None:
    scene.maria.post("/demo/down").raise_for_status()
    scene.demo.fake.advance(A_DAY)
    answer = scene.maria.get("/api/leads")
    _expect("the error", (_UNAVAILABLE, "amocrm_unavailable"), (answer.status_code, answer.json()["error"]["code"]))
    _expect("still connected", True, scene.maria.status()["connected"])  # noqa: FBT003
    scene.maria.post("/demo/up").raise_for_status()
    scene.demo.fake.advance(float(answer.headers["Retry-After"]))
    scene.maria.leads()


def _revoke(scene: _Scene) -> None:
    scene.demo.fake.advance(A_DAY)
    scene.maria.post("/demo/revoke").raise_for_status()
    answer = scene.maria.get("/api/leads")
    _expect("the error", (_CONFLICT, "grant_revoked"), (answer.status_code, answer.json()["error"]["code"]))
    status = scene.maria.status()
    _expect("connected, hasTokens", (False, True), (status["connected"], status["hasTokens"]))
    _expect("the other user's connection", True, scene.ivan.status()["connected"])  # noqa: FBT003
    scene.ivan.leads()


def _reconnect(scene: _Scene) -> None:
    scene.maria.connect(user="maria")
    scene.maria.leads()


def _encrypted(scene: _Scene) -> None:
    folder = scene.demo.database.parent
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    fake = scene.demo.fake
    pairs = [pair for user in ("maria", "ivan") for pair in fake.pairs(user)]
    found = sum(token.encode() in stored for pair in pairs for token in (pair.access_token, pair.refresh_token))
    _expect("readable tokens in the database", 0, found)
    _expect("the database holds rows", True, b"amocrm-encrypted:" in stored)  # noqa: FBT003


def _disconnect(scene: _Scene) -> None:
    scene.maria.disconnect()
    status = scene.maria.status()
    _expect("connected, hasTokens", (False, False), (status["connected"], status["hasTokens"]))
    _expect("the other user's connection", True, scene.ivan.status()["connected"])  # noqa: FBT003


_STEPS: tuple[tuple[str, Callable[[_Scene], None]], ...] = (
    ("two users log in, nobody is connected", _log_in),
    ("a refusal on the consent page reaches the phone and changes nothing", _deny),
    ("a code of one user is refused to another, and not spent", _foreign_code),
    ("both connect: consent page, callback, deep link, exchange", _connect),
    ("each sees their own leads", _leads),
    ("a day passes: the next call refreshes, once", _day),
    ("amoCRM rejects a token early: one refresh, and the call succeeds", _rejected),
    (f"a day passes: {TABS} tabs ask at once, one refresh serves them all", _tabs),
    ("amoCRM is down: a calm error, the connection survives, and works again after", _outage),
    ("the grant is revoked: one user is asked to connect again, the other goes on", _revoke),
    ("connecting again mends it", _reconnect),
    ("no token can be read in the database", _encrypted),
    ("disconnecting forgets one user and nobody else", _disconnect),
)
