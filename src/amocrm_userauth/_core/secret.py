"""A wrapper that keeps a secret out of reprs, logs and rendered tracebacks."""

from typing import final

__all__ = ["Secret"]


@final
class Secret:
    """Holds one secret text. Nothing shows it but :meth:`reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text; call it inside an expression, so that no local variable holds it."""
        return self._value

    def __repr__(self) -> str:
        """Show nothing."""
        return "Secret(***)"
