"""The OpenAPI document says what the contract says."""

from typing import Any

from amocrm_userauth import (
    AsyncUserAuth,
    UserAuth,
)
from amocrm_userauth.fastapi import amocrm_router
from tests.contract.fastapi_apps import serving


def test_two_mounts_work_side_by_side(auth: UserAuth | AsyncUserAuth) -> None:
    """Both paths in use answer, and their operations have different ids."""
    router = amocrm_router(auth, current_user=lambda: "anna", deep_link="app://x")
    with serving(("/api/amo-crm", router), ("/api/v1/integrations/amo-crm", router)) as client:
        for prefix in ("/api/amo-crm", "/api/v1/integrations/amo-crm"):
            assert client.get(f"{prefix}/status").status_code == 200
        document = client.get("/openapi.json").json()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) == 10


def _document(auth: Any) -> dict[str, Any]:
    with serving(("/api/amo-crm", amocrm_router(auth, current_user=lambda: "a", deep_link="app://x"))) as client:
        return client.get("/openapi.json").json()


def test_the_document_shows_every_answer(auth: UserAuth | AsyncUserAuth) -> None:
    """Each operation documents what it can answer, with the envelope as the schema of errors."""
    document = _document(auth)
    expected = {
        ("/status", "get"): {"200", "401", "403", "422", "500", "503"},
        ("/authorize-url", "get"): {"200", "401", "403", "422", "500", "503"},
        ("/exchange-code", "post"): {"200", "400", "401", "403", "422", "500", "502", "503"},
        ("/disconnect", "post"): {"200", "401", "403", "422", "500", "503"},
        ("/callback", "get"): {"302", "400", "500", "503"},
    }
    found = {
        (path.removeprefix("/api/amo-crm"), method): set(operation["responses"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert found == expected


def test_the_document_has_examples(auth: UserAuth | AsyncUserAuth) -> None:
    """Bodies and errors come with examples, and every example of an error is in the envelope."""
    document = _document(auth)
    schemas = document["components"]["schemas"]
    assert schemas["StatusReply"]["examples"][0]["data"]["accountId"] == "31920194"
    exchange = document["paths"]["/api/amo-crm/exchange-code"]["post"]
    body = exchange["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["code"]
    assert body["examples"][0].keys() == {"code", "state", "referer"}
    for status, answer in exchange["responses"].items():
        if status == "200":
            continue
        content = answer["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorReply"}
        for code, example in content["examples"].items():
            assert example["value"]["success"] is False
            assert example["value"]["error"]["code"] == code
    assert set(exchange["responses"]["400"]["content"]["application/json"]["examples"]) == {
        "invalid_state",
        "invalid_code",
        "untrusted_host",
        "wrong_account",
        "already_connected_by_another",
    }


def test_the_documents_status_has_the_four_keys(auth: UserAuth | AsyncUserAuth) -> None:
    """The names on the wire are the contract's."""
    schemas = _document(auth)["components"]["schemas"]
    assert set(schemas["Status"]["properties"]) == {"connected", "hasTokens", "domain", "accountId"}
    assert set(schemas["AuthorizeUrl"]["properties"]) == {"url", "state", "expiresIn"}
    assert schemas["Status"]["properties"]["accountId"]["type"] == "string"
