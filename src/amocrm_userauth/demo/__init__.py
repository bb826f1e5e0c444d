"""A demonstration on one machine: a fake amoCRM, an example backend, and a page that plays the phone.

Started by ``amocrm-userauth demo``. Needs the extra ``amocrm_userauth[demo]``. To learn how a backend uses the library
read ``demo/_backend.py``: it does nothing that an application could not do.
"""

from amocrm_userauth.demo._server import Demo
from amocrm_userauth.demo._tour import TourFailed, tour

__all__ = ["Demo", "TourFailed", "tour"]
