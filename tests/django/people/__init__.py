"""An app with user models of the site's own; ``AMOCRM_TEST_DJANGO_USER`` chooses one."""
