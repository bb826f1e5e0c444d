"""The process's one service: made once, from the settings, and made anew when they change."""

import gc
import os
import subprocess
import sys
import warnings

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.test import override_settings

import amocrm_userauth.django as adapter
from amocrm_userauth.crypto import TAG, FernetCipher
from amocrm_userauth.django import DjangoTokenStore, _service, user_auth
from amocrm_userauth.django._settings import ENVIRONMENT, Options
from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.errors import ConfigurationError
from tests.django.site import ROOT, amocrm, connect, settings_for
from tests.races.kit import in_threads, world


def test_there_is_one_service_a_process(on_sqlite: str) -> None:
    """Whoever asks first, from whatever thread."""
    with amocrm():
        made = in_threads([user_auth] * 12)
        assert len({id(auth) for auth in made}) == 1
        assert user_auth().store is _service.token_store()


def test_changed_settings_make_a_new_one(on_sqlite: str) -> None:
    """Tests change settings; what was open is closed, the HTTP client too."""
    with amocrm() as fake:
        first = user_auth()
        client = _service._process.http
        with override_settings(AMOCRM_USERAUTH=settings_for(fake, CACHE_TTL=5)):
            assert user_auth() is not first
            assert client.is_closed
            assert user_auth()._settings.cache_ttl == 5
        assert user_auth() is not first
        same = user_auth()
        with override_settings(LANGUAGE_CODE="ru"):
            assert user_auth() is same


def test_without_a_client_of_the_sites_it_opens_its_own(on_sqlite: str) -> None:
    """Nothing is left unclosed by ``close``."""
    with world("strict") as fake, override_settings(AMOCRM_USERAUTH=settings_for(fake)):
        assert user_auth()._http._client is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _service.close()
            gc.collect()


def test_the_environment_gives_what_the_site_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets belong there; a setting of the site wins."""
    for name in ENVIRONMENT.values():
        monkeypatch.setenv(name, "31920194" if name == "AMO_ACCOUNT_ID" else "https://example.com/callback")
    monkeypatch.setenv("AMO_DOMAIN", " example.amocrm.ru ")
    with override_settings(AMOCRM_USERAUTH={"CLIENT_ID": "example-own", "ONLY_THIS_ACCOUNT": True}):
        integration = Options.read().integration()
    assert integration.client_id == "example-own"
    assert integration.client_secret == "https://example.com/callback"
    assert (integration.account_domain, integration.account_id) == ("example.amocrm.ru", "31920194")
    assert integration.only_this_account


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "AMO_CLIENT_ID"),
        ({"CLIENT_ID": "example"}, "AMO_CLIENT_SECRET"),
        ({"CLIENT_SECRT": "example-secret"}, r"'CLIENT_SECRT' \(did you mean 'CLIENT_SECRET'\?\)"),
        ({"CURRENT_USER": "nowhere.at_all", 7: 8}, "has no '7'"),
        ([("CLIENT_ID", "example-secret")], "must be a dict"),
    ],
)
def test_wrong_settings_are_named(given: object, message: str, on_sqlite: str) -> None:
    """By name, without their value."""
    with override_settings(AMOCRM_USERAUTH=given), pytest.raises(ConfigurationError, match=message) as caught:
        user_auth()
    assert "example-secret" not in str(caught.value)


def test_a_failed_start_is_tried_anew(on_sqlite: str) -> None:
    """A wrong setting leaves nothing half made."""
    with override_settings(AMOCRM_USERAUTH={}), pytest.raises(ConfigurationError):
        user_auth()
    with amocrm():
        assert user_auth() is user_auth()


@pytest.mark.parametrize("by", ["ENCRYPTION_KEYS", "CIPHER"])
def test_tokens_are_encrypted_by_the_sites_keys(by: str, database: str) -> None:
    """What is stored begins with the cipher's tag and shows no token."""
    user, key = kit.make_user("bob", database), FernetCipher.generate_key()
    given = {"ENCRYPTION_KEYS": [key]} if by == "ENCRYPTION_KEYS" else {"CIPHER": lambda: FernetCipher([key])}
    with amocrm(**given) as fake:
        connect(fake, user)
        row = AmoCRMToken.objects.using(database).get(user_id=user)
        assert row.access_token.startswith(TAG)
        assert row.refresh_token.startswith(TAG)
        assert user_auth().access_token(user) == fake.pairs(user)[-1].access_token
        assert "amocrm-encrypted" not in repr(row.__dict__)


def test_callables_by_their_dotted_path(on_sqlite: str) -> None:
    """A path that leads nowhere, or to no callable, is named."""
    options = Options({"HTTP_CLIENT": "httpx.Client", "CIPHER": "nowhere.at_all", "CURRENT_USER": "httpx.__version__"})
    with options.http_client() as client:
        assert type(client).__name__ == "Client"
    with pytest.raises(ConfigurationError, match=r"CIPHER.*cannot be imported"):
        options.cipher()
    with pytest.raises(ConfigurationError, match=r"CURRENT_USER.*must be a callable"):
        options.callable("CURRENT_USER")
    assert "nowhere" not in repr(options)


def test_names_come_when_they_are_asked_for() -> None:
    """Importing the package touches no models; a name that is not there is an AttributeError."""
    assert adapter.DjangoTokenStore is DjangoTokenStore
    for name in adapter.__all__:
        assert getattr(adapter, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adapter.nothing


def test_importing_it_needs_no_settings() -> None:
    """A site's ``models.py`` may import ``user_auth`` before the apps are ready."""
    program = "import sys, amocrm_userauth.django; print('amocrm_userauth.django.models' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unclosed_service_is_closed_at_the_end_of_the_process(tmp_path: object) -> None:
    """No warning at exit, though nobody called ``close``."""
    program = (
        "from tests.django import kit; kit.site()\n"
        "from django.test import override_settings\n"
        "from amocrm_userauth.django import user_auth\n"
        "given = dict(CLIENT_ID='example', CLIENT_SECRET='example', REDIRECT_URI='https://example.com', CONN_MAX_AGE=60)\n"
        "override_settings(AMOCRM_USERAUTH=given).enable()\n"
        "user_auth()._http._pick()\n"
        "print(user_auth().status('7').connected)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("False", "", 0)
