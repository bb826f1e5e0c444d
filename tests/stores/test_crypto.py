"""Tokens at rest: bound to their cell, readable with any known key, and silent when something is wrong."""

import builtins
import traceback
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from amocrm_userauth.crypto import TAG, FernetCipher, TokenCipher, seal, unseal
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable

KEY, OTHER = FernetCipher.generate_key(), FernetCipher.generate_key()
CELL = {"user_id": "bob", "column": "access_token"}
USERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
VALUES = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda value: not value.startswith(TAG))


@given(value=VALUES, user=USERS)
def test_what_is_encrypted_comes_back(value: str, user: str) -> None:
    """Any value, for any user."""
    cipher = FernetCipher([KEY])
    stored = cipher.encrypt(value, user_id=user, column="access_token")
    assert stored.startswith(TAG)
    assert cipher.decrypt(stored, user_id=user, column="access_token") == value


@given(value=VALUES, users=st.lists(USERS, min_size=2, max_size=2, unique=True))
def test_a_value_is_bound_to_its_user(value: str, users: list[str]) -> None:
    """Nobody else's id opens it, however the ids and values are chosen."""
    cipher = FernetCipher([KEY])
    stored = cipher.encrypt(value, user_id=users[0], column="access_token")
    with pytest.raises(ConfigurationError, match="another user or column"):
        cipher.decrypt(stored, user_id=users[1], column="access_token")


def test_a_value_is_bound_to_its_column() -> None:
    """A refresh token does not come out as an access token."""
    cipher = FernetCipher([KEY])
    stored = cipher.encrypt("example", user_id="bob", column="refresh_token")
    with pytest.raises(ConfigurationError, match="another user or column"):
        cipher.decrypt(stored, **CELL)


def test_the_first_key_writes_and_all_read() -> None:
    """A new key in front encrypts, the old one still decrypts."""
    stored = FernetCipher([OTHER]).encrypt("example", **CELL)
    both = FernetCipher([KEY, OTHER])
    assert both.decrypt(stored, **CELL) == "example"
    assert FernetCipher([KEY]).decrypt(both.encrypt("example", **CELL), **CELL) == "example"


@pytest.mark.parametrize("stored", ["plain", FernetCipher([OTHER]).encrypt("plain", **CELL)])
def test_a_stored_value_can_be_rotated(stored: str) -> None:
    """A plain value becomes encrypted, one under an old key is under the new one."""
    rotated = FernetCipher([KEY, OTHER]).rotate(stored, **CELL)
    assert FernetCipher([KEY]).decrypt(rotated, **CELL) == "plain"


def test_untagged_values_are_plain() -> None:
    """Values are told by their tag, never by their looks: amoCRM's tokens look encrypted."""
    looks_encrypted = Fernet(KEY).encrypt(b"example").decode()
    assert FernetCipher([KEY]).decrypt(looks_encrypted, **CELL) == looks_encrypted
    assert unseal(None, looks_encrypted, **CELL) == looks_encrypted


@pytest.mark.parametrize(
    "stored", [f"{TAG}nonsense", f"{TAG}", f"{TAG}ключ", FernetCipher([OTHER]).encrypt("x", **CELL)]
)
def test_what_no_key_opens_is_an_error(stored: str) -> None:
    """The message says what to do, and nothing is chained to it."""
    with pytest.raises(ConfigurationError, match="add the key") as caught:
        FernetCipher([KEY]).decrypt(stored, **CELL)
    assert caught.value.user_id == "bob"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "keys", [[], ["example-secret-key"], [KEY, "example-secret-key"], [KEY[:-2]], [None], "example-secret-key"]
)
def test_a_bad_key_is_an_error_that_does_not_show_it(keys: Any) -> None:
    """Neither the message nor a rendered traceback has the keys."""
    with pytest.raises(ConfigurationError, match="generate_key") as caught:
        FernetCipher(keys)
    own = caught.tb.tb_next
    shown = "".join(traceback.TracebackException(caught.type, caught.value, own, capture_locals=True).format())
    assert "example-secret-key" not in shown
    assert KEY not in shown
    assert caught.value.__context__ is None


def test_one_key_may_be_given_as_it_is() -> None:
    """Text or bytes."""
    stored = FernetCipher(KEY).encrypt("example", **CELL)
    assert FernetCipher(KEY.encode()).decrypt(stored, **CELL) == "example"


def test_a_generated_key_is_new_each_time() -> None:
    """And fit for a cipher."""
    assert FernetCipher.generate_key() != FernetCipher.generate_key()


def test_without_cryptography_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module itself can be imported without it."""
    known = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for step in (lambda: FernetCipher([KEY]), FernetCipher.generate_key):
        with pytest.raises(ConfigurationError, match=r"amocrm_userauth\[crypto\]"):
            step()


@pytest.mark.parametrize("cipher", [None, FernetCipher([KEY])])
def test_what_looks_encrypted_is_not_sealed(cipher: TokenCipher | None) -> None:
    """A plain value with the tag could not be told from ciphertext, and ciphertext is not encrypted twice."""
    with pytest.raises(ConfigurationError, match="encrypted already"):
        seal(cipher, f"{TAG}example", **CELL)


def test_without_a_cipher_values_are_stored_as_they_are() -> None:
    """And an encrypted one is an error that names the cure."""
    assert seal(None, "example", **CELL) == "example"
    with pytest.raises(ConfigurationError, match="cipher=FernetCipher"):
        unseal(None, f"{TAG}example", **CELL)


class KeyService:
    """A cipher whose keys are elsewhere, and which is not up to much."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def encrypt(self, value: str, *, user_id: str, column: str) -> str:
        if self.problem == "tag":
            return value[::-1]
        raise OSError(value)

    def decrypt(self, value: str, *, user_id: str, column: str) -> str:
        raise OSError(value)


def test_a_cipher_that_forgets_the_tag_is_told() -> None:
    """What could not be recognised later is not written."""
    with pytest.raises(ConfigurationError, match="does not begin with"):
        seal(KeyService("tag"), "example", **CELL)


def test_a_key_service_that_fails_makes_the_store_unavailable() -> None:
    """Its own exception, which may show what it was given, does not leak out."""
    for step, value in ((seal, "example-secret"), (unseal, f"{TAG}example-secret")):
        with pytest.raises(StoreUnavailable, match="OSError") as caught:
            step(KeyService("down"), value, **CELL)
        assert caught.value.__context__ is None
        assert "example-secret" not in str(caught.value)


@pytest.mark.parametrize("cipher", [None, FernetCipher([KEY]), KeyService("tag"), KeyService("down")])
def test_a_plain_token_is_in_no_frame_that_fails(cipher: TokenCipher | None) -> None:
    """A rendered traceback with local variables does not show what could not be encrypted."""
    secret = "example-secret"
    with pytest.raises((ConfigurationError, StoreUnavailable)) as caught:
        seal(cipher, f"{TAG}{secret}", **CELL)
    own = caught.tb.tb_next
    shown = "".join(traceback.TracebackException(caught.type, caught.value, own, capture_locals=True).format())
    assert secret not in shown
    assert secret[::-1] not in shown


def test_encrypting_twice_shows_nothing() -> None:
    """The same holds for a cipher that is used without a store."""
    with pytest.raises(ConfigurationError) as caught:
        FernetCipher([KEY]).encrypt(f"{TAG}example-secret", **CELL)
    own = caught.tb.tb_next
    shown = "".join(traceback.TracebackException(caught.type, caught.value, own, capture_locals=True).format())
    assert "example-secret" not in shown
