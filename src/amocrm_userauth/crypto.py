"""Tokens at rest: what encrypts a token before a store writes it, and decrypts it when it is looked at.

Needs the extra ``crypto`` (the package cryptography) as soon as a :class:`FernetCipher` is made, not before.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["TAG", "FernetCipher", "TokenCipher", "seal", "unseal"]

TAG = "amocrm-encrypted:"
"""What every encrypted value begins with. Nothing is recognised by its looks: amoCRM's own tokens look encrypted."""

_SEPARATOR = "\0"


class TokenCipher(Protocol):
    """What a store needs to keep tokens unreadable: match this shape to use a key service of your own.

    ``user_id`` and ``column`` say which cell the value is for. They must be bound into the result, so that a value
    copied to another row or column does not decrypt.
    """

    def encrypt(self, value: str, *, user_id: str, column: str) -> str:
        """Return ``value`` encrypted, as text that begins with :data:`TAG`."""
        ...

    def decrypt(self, value: str, *, user_id: str, column: str) -> str:
        """Return the plain value of what :meth:`encrypt` returned for this cell.

        Raises ``ConfigurationError`` if no known key fits or the value belongs to another cell, ``StoreUnavailable``
        if the key cannot be asked for now.
        """
        ...


class FernetCipher:
    """Encrypts with Fernet keys: the first one writes, all of them read.

    To change keys put the new one in front, deploy, rewrite the rows (``store.reencrypt()``), then drop the old one.
    Values that were stored before there was a cipher are read as they are and encrypted at their next write.

    Args:
        keys: Fernet keys as text or bytes, such as :meth:`generate_key` makes them. Keep them out of the database.

    Raises:
        ConfigurationError: no key, a key that is none, or the package cryptography is missing.

    """

    def __init__(self, keys: Iterable[str | bytes]) -> None:
        """Load the keys."""
        loaded = _load([keys] if isinstance(keys, str | bytes) else keys)
        del keys  # a rendered traceback shows local variables
        if isinstance(loaded, str):
            raise ConfigurationError(loaded)
        self._fernet, self._invalid = loaded

    @staticmethod
    def generate_key() -> str:
        """Return a new random key. Store it where the other secrets of the application are."""
        try:
            from cryptography.fernet import Fernet  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(_MISSING) from None
        return Fernet.generate_key().decode()

    def encrypt(self, value: str, *, user_id: str, column: str) -> str:
        """Return ``value`` encrypted with the first key for this cell.

        Raises ``ConfigurationError`` if it is encrypted already.
        """
        if value.startswith(TAG):
            del value
            raise ConfigurationError(_ALREADY, user_id=user_id)
        return TAG + self._fernet.encrypt(_SEPARATOR.join((column, user_id, value)).encode()).decode()

    def decrypt(self, value: str, *, user_id: str, column: str) -> str:
        """Return the plain value; one without :data:`TAG` was never encrypted and is returned as it is.

        Raises ``ConfigurationError`` if none of the keys fits, or if the value was written for another cell. Nothing
        is overwritten: put the right key back and it is readable again.
        """
        if not value.startswith(TAG):
            return value
        try:
            plain = self._fernet.decrypt(value[len(TAG) :].encode()).decode()
        except (self._invalid, ValueError):
            plain = None
        cell = _SEPARATOR.join((column, user_id, ""))
        if plain is not None and plain.startswith(cell):
            return plain[len(cell) :]
        foreign, plain = plain is not None, None
        raise ConfigurationError(_FOREIGN if foreign else _NO_KEY, user_id=user_id)

    def rotate(self, value: str, *, user_id: str, column: str) -> str:
        """Return the stored ``value`` encrypted anew with the first key; a plain one becomes encrypted."""
        return self.encrypt(self.decrypt(value, user_id=user_id, column=column), user_id=user_id, column=column)


_MISSING = "FernetCipher needs the package cryptography: pip install 'amocrm_userauth[crypto]'"
_BAD_KEY = "FernetCipher needs one or more keys as FernetCipher.generate_key() makes them; one of these is none"
_ALREADY = f"a token that begins with {TAG!r} is not stored: it seems to be encrypted already"
_NO_KEY = "none of the configured keys decrypts this user's token; add the key that it was written with"
_FOREIGN = "this stored token was written for another user or column; somebody copied values between rows"
_NO_CIPHER = "this user's token is stored encrypted; give the store its cipher (cipher=FernetCipher([...]))"
_NO_TAG = f"the cipher returned a value that does not begin with {TAG!r}; see amocrm_userauth.crypto.TokenCipher"


def _load(keys: Iterable[str | bytes]) -> "tuple[MultiFernet, type[Exception]] | str":
    """Return the loaded keys, or what is wrong with them: a raised error would show them in this frame."""
    try:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet  # noqa: PLC0415 - an extra
    except ImportError:
        return _MISSING
    try:
        return MultiFernet([Fernet(key) for key in keys]), InvalidToken
    except (ValueError, TypeError):
        return _BAD_KEY


def seal(cipher: TokenCipher | None, value: str, *, user_id: str, column: str) -> str:
    """Return what a store writes into ``column`` for ``value``: encrypted if there is a cipher.

    Raises ``ConfigurationError`` where the result could not be read back, ``StoreUnavailable`` if the cipher fails.
    """
    outcome = _sealed(cipher, value, user_id, column)
    del value  # as in every frame that may raise below
    if isinstance(outcome, str):
        return outcome
    raise outcome


def unseal(cipher: TokenCipher | None, stored: str, *, user_id: str, column: str) -> str:
    """Return the plain value of what a store read from ``column``.

    Raises ``ConfigurationError`` if the key is missing or wrong, ``StoreUnavailable`` if the cipher fails.
    """
    if not stored.startswith(TAG):
        return stored
    if cipher is None:
        raise ConfigurationError(_NO_CIPHER, user_id=user_id)
    outcome = _attempt(cipher.decrypt, stored, user_id, column)
    if isinstance(outcome, str):
        return outcome
    raise outcome


def _sealed(cipher: TokenCipher | None, value: str, user_id: str, column: str) -> str | AmoCRMUserAuthError:
    if cipher is None:
        return ConfigurationError(_ALREADY, user_id=user_id) if value.startswith(TAG) else value
    outcome = _attempt(cipher.encrypt, value, user_id, column)
    if isinstance(outcome, str) and not outcome.startswith(TAG):
        return ConfigurationError(_NO_TAG, user_id=user_id)
    return outcome


class _Work(Protocol):
    def __call__(self, value: str, /, *, user_id: str, column: str) -> str: ...


def _attempt(work: _Work, value: str, user_id: str, column: str) -> str | AmoCRMUserAuthError:
    """Return the result or the error, without the frames and causes in which a token may be seen."""
    try:
        return work(value, user_id=user_id, column=column)
    except AmoCRMUserAuthError as error:
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    except Exception as error:  # noqa: BLE001 - whatever a key service raises
        return StoreUnavailable(f"the token cipher failed ({type(error).__name__})", user_id=user_id)
