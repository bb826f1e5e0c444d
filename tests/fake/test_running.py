"""Starting, stopping, reaching and attaching to a fake."""

import asyncio
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import httpx
import httpx2
import pytest

from amocrm_userauth import testing
from amocrm_userauth.testing import FakeAmoCRM, async_http_client, http_client
from amocrm_userauth.testing._fake import process
from amocrm_userauth.testing._fake.settings import Settings
from tests.fake.kit import HOST, Caller, caller

PLUGIN = "amocrm_userauth.testing.pytest_plugin"


def open_sockets() -> int:
    """Count the sockets of this process."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(entry.readlink()))
    return sum(link.startswith("socket:") for link in links)


def test_nothing_is_left_after_the_end():
    """No thread, no socket, and nobody listens: also with a kept connection and a held call."""
    gc.collect()
    threads, sockets = threading.active_count(), open_sockets()
    for _ in range(3):
        with caller() as amo:
            token = amo.connect()["refresh_token"]
            hold = amo.fake.hold_next("anna", at="after")
            with ThreadPoolExecutor(1) as pool:
                call = pool.submit(amo.refresh, token)
                hold.wait_arrived()
                amo.fake.stop()
                assert isinstance(call.exception() or call.result(), httpx.TransportError | httpx.Response)
            port = httpx.URL(amo.fake.url).port
    gc.collect()
    assert (threading.active_count(), open_sockets()) == (threads, sockets)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_fake_can_end_while_it_is_down():
    """And stopping twice does no harm."""
    fake = FakeAmoCRM().start()
    fake.down()
    fake.stop()
    fake.stop()


def test_a_fake_starts_once_and_says_when_it_does_not_run():
    """Mistakes in a test show at once; a stopped fake can be started anew."""
    fake = FakeAmoCRM()
    for use in (lambda: fake.url, lambda: fake.control_url, lambda: fake.expire("anna")):
        with pytest.raises(RuntimeError, match="not running"):
            use()
    with fake.start() as same:
        assert same is fake
        with pytest.raises(RuntimeError, match="already"):
            fake.start()
    with fake, fake.http_client() as http:
        Caller(fake, http).connect()
        assert fake.token_calls() == 1


def test_several_fakes_know_nothing_of_each_other():
    """Each has its own port, users and tokens."""
    with caller() as one, caller() as other:
        token = one.connect()["refresh_token"]
        assert other.refresh(token).json()["hint"] == "Cannot decrypt the refresh token"
        assert other.fake.token_calls("anna") == 0


def test_several_event_loops_use_one_fake():
    """The async clients of two loops in two threads, at once."""

    async def connect(fake: FakeAmoCRM, user: str) -> int:
        async with fake.async_http_client() as http:
            fields = Caller(fake, None).fields(grant_type="authorization_code", code=fake.authorize(user))
            answer = await http.post(f"https://{HOST}/oauth2/access_token", json=fields)
            return answer.status_code

    with FakeAmoCRM() as fake, ThreadPoolExecutor(2) as pool:
        fake.integration()
        calls = [pool.submit(asyncio.run, connect(fake, user)) for user in ("anna", "boris")]
        assert [call.result() for call in calls] == [200, 200]
        assert fake.alive_pair("anna") != fake.alive_pair("boris")


async def test_a_hold_can_be_awaited_on_the_loop_that_sends():
    """Waiting for the arrival does not block the request."""
    with caller() as amo:
        token = amo.connect()["refresh_token"]
        hold = amo.fake.hold_next("anna")
        async with amo.fake.async_http_client() as http:
            fields = amo.fields(grant_type="refresh_token", refresh_token=token)
            call = asyncio.ensure_future(http.post(f"https://{HOST}/oauth2/access_token", json=fields))
            await hold.async_wait_arrived()
            hold.release()
            assert (await call).status_code == 200


@pytest.mark.parametrize(("library", "kind"), [("httpx", httpx), ("httpx2", httpx2)])
async def test_clients_of_both_libraries_reach_the_fake_and_nothing_else(library: str, kind):
    """Requests to amoCRM's hosts end at the fake; anything else is refused as if nobody were there."""
    with FakeAmoCRM() as fake, fake.http_client(library=library) as http:
        assert isinstance(http, kind.Client)
        answer = http.get(f"https://{HOST}/api/v4/account")
        assert (answer.status_code, str(answer.url)) == (404, f"https://{HOST}/api/v4/account")
        assert http.get(f"{fake.url}/oauth").status_code == 404
        async with fake.async_http_client(library=library) as async_http:
            assert isinstance(async_http, kind.AsyncClient)
            assert (await async_http.get("https://www.kommo.com/oauth")).status_code == 404
            for url in ("https://backend.example/", "https://amocrm.ru.evil.example/", "https://evilamocrm.ru/"):
                with pytest.raises(kind.ConnectError):
                    http.get(url)
                with pytest.raises(kind.ConnectError):
                    await async_http.get(url)
            for url in (f"http://{HOST}/", f"https://{HOST}:8443/", "http://127.0.0.1:1/"):
                with pytest.raises(kind.ConnectError):
                    http.get(url)


@pytest.mark.parametrize(("library", "kind"), [("httpx", httpx), ("httpx2", httpx2)])
async def test_transports_for_clients_of_ones_own(library: str, kind):
    """What carries the requests can be put into any client."""
    with FakeAmoCRM() as fake:
        with kind.Client(transport=testing.http_transport(fake.url, library=library)) as http:
            assert http.get(f"https://{HOST}/").status_code == 404
        transport = testing.async_http_transport(fake.url, library=library)
        async with kind.AsyncClient(transport=transport) as http:
            assert (await http.get(f"https://{HOST}/")).status_code == 404


def test_a_fake_in_a_process_of_its_own():
    """It has the same verbs and books, and is gone afterwards."""
    with caller(process=True, rotation="lenient", without_claims=("api_domain",), rate_limit=None) as amo:
        fake = amo.fake
        pair = amo.connect()
        fake.fail_next("anna", status=429, kind="plain", headers=(("retry-after", "1"),))
        assert amo.refresh(pair["refresh_token"]).headers["retry-after"] == "1"
        hold = fake.hold_next("anna", at="after")
        assert not hold.arrived.wait(0.01)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(amo.refresh, pair["refresh_token"])
            hold.wait_arrived()
            assert hold.arrived.wait()
            hold.release()
            assert fake.is_alive(call.result().json()["refresh_token"], "anna")
        assert fake.token_calls("anna", "refresh_token") == 2
        assert fake.presentations("anna")[-1].outcome == "issued"
        assert len(fake.pairs("anna")) == 2
        fake.down()
        with pytest.raises(httpx.ConnectError):
            amo.refresh("junk")
        fake.up()
        assert amo.refresh("junk").status_code == 401
        amo.connect("boris", "other")
        with pytest.raises(RuntimeError, match="ValueError: the subdomain 'example' is taken"):
            fake.rename_account("boris", "example")
        port = httpx.URL(fake.url).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_process_takes_no_clock():
    """A function cannot follow it there."""
    with pytest.raises(ValueError, match="advance"):
        FakeAmoCRM(process=True, clock=lambda: None)


def test_other_processes_attach_to_a_fake():
    """They have the verbs by the control address and clients by the fake's, and leave it running."""
    with caller() as amo, FakeAmoCRM.attach(amo.fake.control_url) as attached:
        assert attached.url == amo.fake.url
        assert attached.control_url == amo.fake.control_url
        pair = amo.connect()
        attached.expire("anna")
        assert amo.account(pair["access_token"]).status_code == 401
        attached.stop()
        assert attached.token_calls("anna") == 1
        with http_client(attached.url) as http:
            assert http.get(f"https://{HOST}/oauth").status_code == 404


def test_another_process_uses_the_fake():
    """Only the two addresses go there."""
    program = """
import sys
from amocrm_userauth.testing import FakeAmoCRM, http_client
fake = FakeAmoCRM.attach(sys.argv[1])
with http_client(fake.url) as http:
    print(http.get("https://example.amocrm.ru/oauth").status_code)
fake.fail_next("anna", status=402)
"""
    with caller() as amo:
        token = amo.connect()["refresh_token"]
        ran = subprocess.run(
            [sys.executable, "-c", program, amo.fake.control_url], capture_output=True, text=True, check=True
        )
        assert ran.stdout.strip() == "404"
        assert amo.refresh(token).status_code == 402


def test_the_control_port_takes_verbs_only():
    """Private names, unknown ones and bodies that a web page could send are refused."""
    with FakeAmoCRM() as fake, httpx.Client(base_url=fake.control_url) as http:
        assert http.get("/").json() == {"url": fake.url}
        assert http.post("/_pairs", json={"user": "anna"}).status_code == 400
        assert http.post("/run", json={}).status_code == 400
        assert http.post("/nothing", json={}).json()["error"] == "AttributeError"
        assert http.post("/expire", content=b'{"user": "anna"}').status_code == 415


def test_a_process_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """Instead of a test that waits for ever."""
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(RuntimeError, match="did not start"):
        FakeAmoCRM(process=True).start()


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch):
    """A stopped one, for example."""
    monkeypatch.setattr(process, "_PATIENCE", 0.05)
    child = process.Process(Settings())
    os.kill(child.pid, signal.SIGSTOP)
    child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_port_of_ones_own():
    """For a page that a person opens in a browser."""
    with FakeAmoCRM() as fake:
        port = httpx.URL(fake.url).port
    with FakeAmoCRM(port=port) as fake:
        assert fake.url == f"http://127.0.0.1:{port}"


def test_an_answer_whose_reader_has_reset_the_connection():
    """It is lost, and nothing breaks."""
    with caller() as amo:
        token = amo.connect()["refresh_token"]
        hold = amo.fake.hold_next("anna")
        body = json.dumps(amo.fields(grant_type="refresh_token", refresh_token=token)).encode()
        head = f"POST /oauth2/access_token HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        raw = socket.create_connection(("127.0.0.1", httpx.URL(amo.fake.url).port))
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        hold.wait_arrived()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        assert amo.account("junk").status_code == 401
        hold.release()
        assert amo.account("junk").status_code == 401
        assert not amo.fake.accepts(token)
        assert not amo.fake.presentations("anna", "refresh_token")[0].answered


def test_a_connection_that_speaks_no_http_is_closed():
    """Also one that stops in the middle of a request."""
    with FakeAmoCRM() as fake:
        port = httpx.URL(fake.url).port
        for sent in (b"\x00\x01\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12"):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(sent)
                raw.shutdown(socket.SHUT_WR)
                assert raw.recv(10) == b""


def test_a_client_that_asks_before_it_sends_a_body():
    """As curl does with a large one."""
    with FakeAmoCRM() as fake:
        port = httpx.URL(fake.url).port
        head = b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(head)
            assert raw.recv(100).startswith(b"HTTP/1.1 100 ")
            raw.sendall(b"{}")
            assert raw.recv(100).startswith(b"HTTP/1.1 404 ")


def test_requests_in_a_pipeline_are_answered_in_order():
    """Two requests in one packet, two answers."""
    with FakeAmoCRM() as fake:
        port = httpx.URL(fake.url).port
        one = b"GET /oauth?client_id=%d HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /oauth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as raw, raw.makefile("rb") as answers:
            raw.sendall(one % 1 + last)
            assert answers.read().count(b"HTTP/1.1 404") == 2


def test_the_package_names_are_loaded_when_used():
    """A store's suite needs none of the fake's packages; what is not there is an AttributeError."""
    program = f"""
import sys, {testing.__name__} as testing
assert "h11" not in sys.modules or "httpx" in sys.modules
assert "{testing.__name__}.fake" not in sys.modules
testing.FakeAmoCRM
assert "{testing.__name__}.fake" in sys.modules
assert "httpx2" not in sys.modules and "pytest" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError):
        testing.Nothing  # noqa: B018
    assert async_http_client is testing.async_http_client


def test_the_pytest_fixture(tmp_path: Path):
    """It gives a running fake, starts nothing where it is not asked for, and takes arguments by a marker."""
    (tmp_path / "test_it.py").write_text(
        """
import sys
import pytest

def test_lazy():
    assert "amocrm_userauth.testing.fake" not in sys.modules

def test_default(fake_amocrm):
    assert fake_amocrm.authorize()

@pytest.mark.fake_amocrm(access_lifetime=60)
def test_marker(fake_amocrm):
    assert fake_amocrm.url.startswith("http://127.0.0.1:")
    assert fake_amocrm._settings.access_lifetime == 60
"""
    )
    arguments = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider"]
    if not any(entry.value == PLUGIN for entry in _entry_points()):
        arguments += ["-p", PLUGIN]
    ran = subprocess.run([*arguments, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr


def _entry_points():
    from importlib.metadata import entry_points

    return entry_points(group="pytest11")


def test_settings_travel_to_a_process_as_json():
    """So they hold nothing but plain values."""
    assert json.loads(json.dumps(asdict(Settings())))["rotation"] == "strict"
