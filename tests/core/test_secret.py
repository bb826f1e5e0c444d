"""The wrapper that keeps a secret out of sight."""

from amocrm_userauth._core.secret import Secret


def test_only_reveal_shows_a_secret():
    """Not repr, str, format or attributes that a renderer walks."""
    secret = Secret("example-secret")
    assert secret.reveal() == "example-secret"
    assert f"{secret} {secret!r}" == "Secret(***) Secret(***)"
    assert not hasattr(secret, "__dict__")
