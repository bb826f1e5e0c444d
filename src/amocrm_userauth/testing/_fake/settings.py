"""How this fake amoCRM reads what amoCRM's documents leave open."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The knobs of one fake; :class:`~amocrm_userauth.testing.FakeAmoCRM` documents each."""

    port: int = 0
    rotation: Literal["strict", "lenient", "family"] = "strict"
    lenient_until: Literal["refresh", "access"] = "refresh"
    status_style: Literal[400, 401] = 401
    client_mismatch: Literal["hint", "2020"] = "hint"
    unknown_host: Literal[401, 404] = 404
    rate_limit: int | None = 7
    rate_limit_tokens: bool = False
    access_lifetime: int = 86_400
    refresh_lifetime: int = 90 * 86_400
    code_lifetime: int = 1_200
    server_time: bool = True
    without_claims: tuple[str, ...] = ()
    lookup: bool = True
    new_grant_kills_old: bool = False
    refresh_kills_access: bool = False

    def __post_init__(self) -> None:
        """Refuse what no reading of amoCRM knows."""
        if self.rotation not in {"strict", "lenient", "family"}:
            msg = "rotation must be 'strict', 'lenient' or 'family'"
            raise ValueError(msg)
