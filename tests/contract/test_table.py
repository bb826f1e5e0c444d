"""Every line of the table holds on every application."""

from string import Template

import pytest

from tests.contract.backend import Ask, Backend, Reply
from tests.contract.givens import GIVENS, Values
from tests.contract.table import CASES, Case

_USERS = ("anna", "boris")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(backend: Backend, case: Case) -> None:
    """The answer is the table's, an error changes no row, and no answer holds a secret."""
    values = GIVENS[case.given](backend)
    before = [backend.row(user) for user in _USERS]
    reply = backend.send(_filled(case.ask, values))[0]
    assert reply.status == case.status, reply
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["content-type"].startswith("application/json")
    assert case.headers.items() <= reply.headers.items()
    _check_body(case, reply, values)
    if case.code:
        assert [backend.row(user) for user in _USERS] == before
    _check_secrets(backend, reply, values)


def _check_body(case: Case, reply: Reply, values: Values) -> None:
    if case.code:
        assert reply.code == case.code
    else:
        assert reply.json() == _fill(case.body, values)


def _check_secrets(backend: Backend, reply: Reply, values: Values) -> None:
    shown = f"{reply.text}{reply.headers}"
    for user in _USERS:
        for pair in backend.fake.pairs(user):
            assert pair.access_token not in shown
            assert pair.refresh_token not in shown
    for name in ("code", "state", "own_state"):
        assert name not in values or values[name] not in shown
    assert "example-client-secret" not in shown


def _filled(ask: Ask, values: Values) -> Ask:
    fields = {name: getattr(ask, name) for name in ask.__dataclass_fields__}
    return Ask(**{**fields, "json": _fill(ask.json, values)})


def _fill(value: object, values: Values) -> object:
    if isinstance(value, str):
        return Template(value).safe_substitute(values)
    if isinstance(value, dict):
        return {key: _fill(part, values) for key, part in value.items()}
    return value
