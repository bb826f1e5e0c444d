"""What goes over the wire, as pydantic models; the OpenAPI document is made from them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from amocrm_userauth._core.model import ConnectionStatus

__all__ = [
    "AuthorizeUrl",
    "AuthorizeUrlReply",
    "Done",
    "ErrorInfo",
    "ErrorReply",
    "ExchangeCode",
    "Status",
    "StatusReply",
]

MAX_CODE = 4096
MAX_STATE = 512
MAX_REFERER = 300
# Seconds; what the service gives its states.
STATE_TTL = 1200


class _Wire(BaseModel):
    model_config = ConfigDict(populate_by_name=True, frozen=True)


class Status(_Wire):
    """A user's connection, as the mobile app shows it."""

    connected: bool = Field(description="An access token can be had without the user, as far as is known.")
    has_tokens: bool = Field(
        serialization_alias="hasTokens",
        description="A token pair is stored. With `connected` false: amoCRM refused it, connect again.",
    )
    domain: str = Field(description="The account's host; the configured default, or empty, without a connection.")
    account_id: str = Field(serialization_alias="accountId", description="The account's number, as text.")


class StatusReply(_Wire):
    """The answer of ``GET status``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "data": {
                        "connected": True,
                        "hasTokens": True,
                        "domain": "example.amocrm.ru",
                        "accountId": "31920194",
                    },
                }
            ]
        }
    )

    success: Literal[True] = True
    data: Status

    @classmethod
    def of(cls, status: ConnectionStatus) -> "StatusReply":
        """Put the four keys of the contract together."""
        return cls(
            data=Status(
                connected=status.connected,
                has_tokens=status.has_tokens,
                domain=status.domain,
                account_id=status.account_id,
            )
        )


class AuthorizeUrl(_Wire):
    """Where to send the browser, and for how long."""

    url: str = Field(repr=False, description="amoCRM's consent page for this user; open it in the system browser.")
    state: str = Field(repr=False, description="Comes back with the code; post it with the code.")
    expires_in: int = Field(serialization_alias="expiresIn", description="Seconds until the state is too old.")


class AuthorizeUrlReply(_Wire):
    """The answer of ``GET authorize-url``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "data": {
                        "url": "https://www.amocrm.ru/oauth?client_id=example-client-id&state=example-state",
                        "state": "example-state",
                        "expiresIn": 1200,
                    },
                }
            ]
        }
    )

    success: Literal[True] = True
    data: AuthorizeUrl


class ExchangeCode(BaseModel):
    """The body of ``POST exchange-code``. Keys that are not listed are ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        json_schema_extra={
            "examples": [
                {"code": "def50200example", "state": "example-state", "referer": "example.amocrm.ru"},
                {"code": "def50200example"},
            ]
        },
    )

    code: str = Field(min_length=1, max_length=MAX_CODE, repr=False, description="The authorization code.")
    state: str | None = Field(
        default=None,
        max_length=MAX_STATE,
        repr=False,
        description="The state that came with the code. Not needed if this backend's `callback` passed the code on.",
    )
    referer: str | None = Field(
        default=None,
        max_length=MAX_REFERER,
        description="The account's host that came with the code. May be left out where the backend has a default.",
    )


class Done(_Wire):
    """Something was done; ``message`` is for people."""

    success: Literal[True] = True
    message: str


class ErrorInfo(_Wire):
    """What went wrong: ``code`` for programs, ``message`` for people."""

    code: str = Field(description="Stable; see the list of errors in the documentation.")
    message: str


class ErrorReply(_Wire):
    """Every answer that is not a success."""

    success: Literal[False] = False
    error: ErrorInfo
