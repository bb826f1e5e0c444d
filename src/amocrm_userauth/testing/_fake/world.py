"""The state of one fake amoCRM, and the rules by which tokens are issued and die."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from amocrm_userauth.testing._fake.books import Books
from amocrm_userauth.testing._fake.faults import Faults
from amocrm_userauth.testing._fake.model import Account, Client, Code, Grant, Pair, Person
from amocrm_userauth.testing._fake.settings import Settings
from amocrm_userauth.testing._fake.tokens import access_token, opaque

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["FIRST_ACCOUNT_ID", "World"]

FIRST_ACCOUNT_ID = 31920194
_FIRST_USER_ID = 8_000_001


class World:
    """Everything this amoCRM knows. Whoever reads or changes it holds ``lock``."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] | None = None) -> None:
        """Start with nobody in it."""
        self.settings: Settings = settings
        self.lock: AbstractContextManager[object] = threading.RLock()
        self.books: Books = Books()
        self.faults: Faults = Faults()
        self.clients: dict[str, Client] = {}
        self.accounts: list[Account] = []
        self.people: dict[str, Person] = {}
        self.codes: dict[str, Code] = {}
        self.grants: list[Grant] = []
        self.by_refresh: dict[str, Pair] = {}
        self.by_access: dict[str, Pair] = {}
        self.refusing = False
        self.outage_status: int | None = None
        self._clock = clock or _real_time
        self._ahead = 0.0

    def now(self) -> float:
        """Return amoCRM's time in Unix seconds."""
        return self._clock().timestamp() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let amoCRM's clock jump ahead."""
        self._ahead += seconds

    def account_at(self, host: str) -> Account | None:
        """Return the account whose own host this is now."""
        return next((account for account in self.accounts if account.host == host), None)

    def account(self, name: str, suffix: str = "amocrm.ru") -> Account:
        """Return the account of this subdomain or full host; it is made if there is none."""
        subdomain, _, rest = name.lower().partition(".")
        suffix = rest or suffix
        known = self.account_at(f"{subdomain}.{suffix}")
        if known is not None:
            return known
        taken = {account.id for account in self.accounts}
        first = FIRST_ACCOUNT_ID if subdomain == "example" and FIRST_ACCOUNT_ID not in taken else 0
        made = Account(first or max(taken | {FIRST_ACCOUNT_ID}) + 7, subdomain, suffix)
        self.accounts.append(made)
        return made

    def person(self, name: str, account: Account | None = None) -> Person:
        """Return the user of this name; they are made (in ``account``, or ``example``) if there is none."""
        known = self.people.get(name)
        if known is None:
            home = account or self.account("example", self._suffix())
            known = self.people[name] = Person(name, _FIRST_USER_ID + len(self.people), home)
        if account is not None:
            known.account = account
        return known

    def _suffix(self) -> str:
        return next(reversed(self.clients.values())).suffix if self.clients else "amocrm.ru"

    def consent(self, client: Client, user: str, account: str) -> Code:
        """Let ``user`` press "allow" for one account, and return the code that the redirect carries."""
        home = self.account(account, client.suffix)
        person = self.person(user, home)
        code = Code(opaque(), client.client_id, home, person, self.now() + self.settings.code_lifetime)
        self.codes[code.value] = code
        return code

    def open_grant(self, code: Code) -> Pair:
        """Spend a code: a new grant with its first pair."""
        code.used = True
        if self.settings.new_grant_kills_old:
            for old in self.grants_of(code.person.name):
                if (old.client_id, old.account) == (code.client_id, code.account):
                    old.kill(self.now())
        grant = Grant(code.client_id, code.account, code.person)
        self.grants.append(grant)
        return self.issue(grant, None)

    def issue(self, grant: Grant, parent: Pair | None) -> Pair:
        """Make the next pair of a grant."""
        now = self.now()
        access = access_token(self.settings, grant.client_id, grant.account, grant.person, int(now))
        lifetimes = (int(now) + self.settings.access_lifetime, now + self.settings.refresh_lifetime)
        pair = Pair(grant, access, opaque(), *lifetimes, now, parent)
        grant.pairs.append(pair)
        self.by_access[pair.access] = self.by_refresh[pair.refresh] = pair
        return pair

    def rotate(self, pair: Pair) -> Pair:
        """Spend a refresh token that is not refused, by this fake's reading of the rotation."""
        if self.settings.rotation == "lenient":
            self._kill_unused_children(pair)
            self.note_use(pair)
        else:
            pair.state = "spent"
        if self.settings.refresh_kills_access:
            pair.end_access(self.now())
        return self.issue(pair.grant, pair)

    def punish_reuse(self, pair: Pair) -> None:
        """Do what a refused refresh token brings about: in the family reading a spent one ends its grant."""
        if self.settings.rotation == "family" and pair.state == "spent":
            pair.grant.kill(self.now())

    def note_use(self, pair: Pair) -> None:
        """Note that a pair is in use: its parent, if that was still good, is spent now."""
        if pair.parent is not None and pair.parent.state == "alive":
            pair.parent.state = "spent"

    def _kill_unused_children(self, pair: Pair) -> None:
        for other in pair.grant.pairs:
            if other.parent is pair:
                other.kill(self.now())

    def pair_of_access(self, token: str, host: str) -> Pair | None:
        """Return the pair of an access token that is good at ``host`` now."""
        pair = self.by_access.get(token)
        if pair is None or pair.access_dead or self.now() >= pair.access_expires_at:
            return None
        account = pair.grant.account
        if not pair.grant.person.active or host not in {account.host, account.api_domain}:
            return None
        if self.settings.lenient_until == "access":
            self.note_use(pair)
        return pair

    def grants_of(self, user: str, account: str | None = None) -> list[Grant]:
        """Return the grants of a user (in one account), oldest first."""
        return [
            grant
            for grant in self.grants
            if grant.person.name == user and account in {None, grant.account.subdomain, grant.account.host}
        ]


def _real_time() -> datetime:
    return datetime.now(UTC)
