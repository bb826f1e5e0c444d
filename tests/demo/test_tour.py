"""The tour without a browser, in this process."""

from types import SimpleNamespace

import pytest

from amocrm_userauth.demo import Demo, TourFailed, tour
from amocrm_userauth.demo._phone import Phone


def test_every_step_comes_out_right(demo):
    """The tour runs to its end."""
    assert len(list(tour(demo))) == 13


def test_a_step_that_comes_out_wrong_is_named(demo, monkeypatch):
    """The failure says which step it was, what was promised and what was found."""
    monkeypatch.setattr(Phone, "leads", lambda _phone: ["a lead of somebody else"])
    with pytest.raises(TourFailed, match="each sees their own leads: leads of this user alone should be True"):
        list(tour(demo))


def test_a_step_that_breaks_is_named_without_its_address():
    """An unexpected error is told by its kind: its text may hold an address with a code."""
    with pytest.raises(TourFailed, match=r"two users log in, nobody is connected: ConnectError$"):
        list(tour(SimpleNamespace(url="http://127.0.0.1:1/")))


def test_a_callback_that_is_refused_ends_the_dance(demo, phone):
    """The phone without a screen does not go on where a browser would see an error page."""
    demo.fake.integration(redirect_uri=f"{demo.url}api/amo-crm/status")
    with pytest.raises(Exception, match="401"):
        phone.consent(user="maria")


def test_a_demo_that_cannot_start_says_so_and_leaves_nothing(monkeypatch):
    """If the backend does not start, the fake amoCRM is stopped and the folder is deleted."""
    demo = Demo()
    monkeypatch.setattr("amocrm_userauth.demo._server._Server.startup", _refuse)
    with pytest.raises(RuntimeError, match="did not start"):
        demo.__enter__()
    assert not demo.database.parent.exists()


async def _refuse(server, sockets=None):
    server.should_exit = True
