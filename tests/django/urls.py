"""The addresses of the tests' site; tests of the views put their own in place."""

urlpatterns: list[object] = []
