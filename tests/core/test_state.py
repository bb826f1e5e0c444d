"""The state: random, signed, bound to client and user, expiring."""

import hashlib
import hmac
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amocrm_userauth import Integration, StateManager
from amocrm_userauth._core import state as state_module
from amocrm_userauth._core.state import hash_code, utc_now
from amocrm_userauth.errors import ConfigurationError, InvalidState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTEGRATION = Integration("client", "example-secret", "https://app.example/callback")
KEY, OLD_KEY = "example-key-of-32-characters-abc", b"example-old-key-of-32-characters"


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def states(keys=(KEY,), integration=INTEGRATION, **more):
    more.setdefault("clock", Clock())
    return StateManager(integration, keys, **more)


def reason(manager, value, **more):
    with pytest.raises(InvalidState) as caught:
        manager.verify(value, **more)
    return caught.value.reason


def test_a_state_proves_its_user():
    """Checked with or without knowing the user; the ticket holds hashes only."""
    manager = states()
    value, expires_at = manager.issue("42")
    ticket = manager.verify(value, user_id="42")
    assert ticket == manager.verify(value)
    assert ticket.expires_at == expires_at == NOW + timedelta(minutes=20)
    assert ticket.user_hash in manager.user_hashes("42")
    assert ticket.user_hash not in manager.user_hashes("43")


def test_a_state_of_another_user_is_refused():
    """Nobody connects their account to somebody else's login, or the other way round."""
    manager = states()
    assert reason(manager, manager.issue("42")[0], user_id="43") == "other_user"


def test_a_state_is_random():
    """128 bits from the system's source, new for each state; several states live side by side."""
    manager = states()
    issued = [manager.issue("42")[0] for _ in range(500)]
    nonces = {value.split(".")[1] for value in issued}
    assert len(nonces) == 500
    assert {len(nonce) for nonce in nonces} == {22}
    assert len({manager.verify(value, user_id="42").nonce_hash for value in issued}) == 500


def test_a_state_is_short_and_safe_in_a_url():
    """No character of it needs escaping."""
    value, _ = states().issue("я" * 255)
    assert len(value) < 128
    assert set(value) <= {*string.ascii_letters, *string.digits, "-", "_", "."}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40))
def test_the_user_is_not_in_the_state(user_id):
    """Neither as it is nor as a plain hash that could be guessed."""
    value, _ = states().issue(user_id)
    plain = hashlib.sha256(user_id.encode()).digest()
    assert state_module._encode(plain)[:16] not in value
    if len(user_id) > 3:
        assert user_id not in value


def test_a_state_expires():
    """At the very second that the caller was told."""
    clock = Clock()
    manager = states(clock=clock)
    value, expires_at = manager.issue("42")
    clock.now = expires_at - timedelta(microseconds=1)
    assert manager.verify(value)
    clock.now = expires_at
    assert reason(manager, value) == "expired"


def test_the_time_to_live_can_be_chosen():
    """In seconds."""
    manager = states(ttl=60)
    assert manager.ttl == timedelta(minutes=1)
    assert manager.issue("42")[1] == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("value", ["", None, 0, False])
def test_a_missing_state_is_missing(value):
    """As opposed to one that is wrong."""
    assert reason(states(), value) == "missing"


@pytest.mark.parametrize(
    "value",
    [
        17,
        b"a1.x",
        ["a1"],
        "x",
        "a1",
        "a1....",
        "a" * 10_000,
        "é",
        "\ud800",
        "a1." + "x" * 22 + ".zz." + "x" * 22 + "." + "x" * 43,
    ],
)
def test_what_is_no_state_is_malformed(value):
    """Of any type and length."""
    assert reason(states(), value) == "malformed"


def test_a_newline_after_a_state_is_not_overlooked():
    """The whole text is the state."""
    manager = states()
    value, _ = manager.issue("42")
    assert reason(manager, value + "\n") == "malformed"
    assert reason(manager, " " + value) == "malformed"


ISSUED = states().issue("42")[0]


@given(st.integers(0, len(ISSUED) - 1), st.sampled_from(string.ascii_letters + string.digits + "-_.\n =é"))
def test_no_character_can_be_changed(position, character):
    """Not even the spare bits at the end of the signature."""
    tampered = ISSUED[:position] + character + ISSUED[position + 1 :]
    if tampered != ISSUED:
        assert reason(states(), tampered) in {"malformed", "signature"}


@given(st.integers(0, len(ISSUED)), st.integers(0, len(ISSUED)))
def test_no_piece_can_be_left_out(start, end):
    """Nor repeated."""
    tampered = ISSUED[:start] + ISSUED[end:]
    if tampered != ISSUED:
        assert reason(states(), tampered) in {"missing", "malformed", "signature"}


@given(st.text(max_size=150))
def test_nothing_made_up_is_accepted(value):
    """And no text breaks the check."""
    assert reason(states(), value) in {"missing", "malformed", "signature"}


def test_parts_of_two_states_do_not_fit_together():
    """The user and the age of one do not go with the nonce of another."""
    manager, later = states(), states(ttl=9000)
    mine, others = manager.issue("42")[0].split("."), later.issue("43")[0].split(".")
    for part in range(1, 5):
        mixed = [*mine]
        mixed[part] = others[part]
        assert reason(manager, ".".join(mixed)) == "signature"


def test_the_latest_possible_time_is_no_crash():
    """The signature is checked first, so any time must be readable."""
    parts = ISSUED.split(".")
    parts[2] = "f" * 12
    assert reason(states(), ".".join(parts)) == "signature"


def test_a_state_is_bound_to_the_client():
    """Two integrations with the same key do not take each other's."""
    other = replace(INTEGRATION, client_id="other")
    assert reason(states(integration=other), ISSUED) == "signature"


def test_a_key_can_be_rotated():
    """The first signs, all verify; a key that is gone verifies nothing."""
    before, during, after = states((OLD_KEY,)), states((KEY, OLD_KEY)), states((KEY,))
    old, new = before.issue("42")[0], during.issue("42")[0]
    assert during.verify(old, user_id="42").user_hash in during.user_hashes("42")
    assert reason(during, old, user_id="43") == "other_user"
    assert after.verify(new, user_id="42")
    assert reason(after, old) == "signature"
    assert reason(before, new) == "signature"
    assert len(during.user_hashes("42")) == 2


def test_without_keys_one_is_derived_from_the_client_secret():
    """Every process of the application makes the same one; another secret makes another."""
    value, _ = states(()).issue("42")
    assert states(()).verify(value, user_id="42")
    assert reason(states((), integration=replace(INTEGRATION, client_secret="example-other")), value) == "signature"
    assert reason(states((INTEGRATION.client_secret * 2,)), value) == "signature"


def test_the_derivation_is_hkdf():
    """RFC 5869 with SHA-256, as cryptography's own does it."""
    hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
    hkdf = pytest.importorskip("cryptography.hazmat.primitives.kdf.hkdf")
    derived = hkdf.HKDF(hashes.SHA256(), 32, b"amocrm_userauth", b"state").derive(INTEGRATION.client_secret.encode())
    value, _ = states(()).issue("42")
    assert states((derived,)).verify(value, user_id="42")


@pytest.mark.parametrize("key", [KEY, KEY.encode()])
def test_one_key_may_be_given_without_a_list(key):
    """Text and bytes of it are the same key."""
    assert states(key).verify(ISSUED, user_id="42")


@pytest.mark.parametrize("keys", [[""], ["example-short"], [KEY, "x"], [b"x" * 15], ""])
def test_a_weak_key_is_refused(keys):
    """Also as the second one, also an empty variable."""
    with pytest.raises(ConfigurationError, match="16"):
        states(keys)


@pytest.mark.parametrize("key", [32, None, True])
def test_a_key_of_another_type_is_refused(key):
    """``bytes(32)`` would be a key of zeros."""
    with pytest.raises(ConfigurationError, match="text or bytes"):
        states((key,))


def test_a_key_with_undecodable_bytes_is_a_key():
    """As the environment hands them over; it never ends in an error that holds the key."""
    assert states((KEY + "\udcff",)).issue("42")


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_time_to_live_must_be_positive(ttl):
    """Else no state would ever be good."""
    with pytest.raises(ConfigurationError, match="ttl"):
        states(ttl=ttl)


@pytest.mark.parametrize("user_id", [None, "", 17, "a\0b", "\ud800", "x" * 256])
def test_a_state_needs_a_user(user_id):
    """The rules for user ids hold here too."""
    with pytest.raises(ValueError, match="user id"):
        states().issue(user_id)
    with pytest.raises(ValueError, match="user id"):
        states().user_hashes(user_id)
    if user_id is not None:
        with pytest.raises(ValueError, match="user id"):
            states().verify(ISSUED, user_id=user_id)


def test_signatures_and_users_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    """Both through ``hmac.compare_digest``."""
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(state_module, "hmac", Spy(compare))
    states().verify(ISSUED, user_id="42")
    assert [len(one) for one, _ in compared] == [43, 22]


class Spy:
    def __init__(self, compare_digest):
        self.compare_digest = compare_digest
        self.new = hmac.new


def test_a_code_is_remembered_by_its_hash():
    """Codes of any text have one, and it is not the code."""
    assert hash_code("example-code") == hash_code("example-code") != hash_code("example-codf")
    assert len(hash_code("\ud800")) == 64
    assert "example" not in hash_code("example-code")


def test_the_default_clock_is_aware():
    """And in UTC."""
    assert utc_now().tzinfo is UTC


def test_a_ticket_shows_no_secret():
    """Its nonce is hashed."""
    assert ISSUED.split(".")[1] not in repr(states().verify(ISSUED))
