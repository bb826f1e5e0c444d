"""The endpoints of the wire contract, and dependencies for an application's own endpoints, for FastAPI.

::

    app = FastAPI(lifespan=lifespan)  # builds app.state.amocrm = AsyncUserAuth(...)
    install_error_handlers(app)
    app.include_router(
        amocrm_router(lambda request: request.app.state.amocrm, current_user=current_user, user_id=lambda u: str(u.id)),
        prefix="/api/amo-crm",  # or any other, also twice
    )

Needs the extra ``amocrm_userauth[fastapi]``.
"""

from amocrm_userauth.fastapi._dependencies import access_token, amocrm_client
from amocrm_userauth.fastapi._errors import install_error_handlers
from amocrm_userauth.fastapi._routes import amocrm_router

__all__ = ["access_token", "amocrm_client", "amocrm_router", "install_error_handlers"]
