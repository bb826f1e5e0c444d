"""The inside of the fake amoCRM. Use :class:`amocrm_userauth.testing.FakeAmoCRM`."""
