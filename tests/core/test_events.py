"""The events that an application may listen to."""

import dataclasses

import pytest

from amocrm_userauth import events

KINDS = [getattr(events, name) for name in events.__all__]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_names_its_user_and_holds_no_secret(kind):
    """The user comes first; no field is a token, a code or a state."""
    names = [field.name for field in dataclasses.fields(kind)]
    assert names[0] == "user_id"
    assert not {name for name in names if "token" in name or "code" in name or "state" in name}


def test_an_event_cannot_be_changed():
    """Several listeners may get the same one."""
    event = events.Connected("42", "31920194", "example.amocrm.ru")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.user_id = "43"
    assert event == events.Connected("42", "31920194", "example.amocrm.ru")
