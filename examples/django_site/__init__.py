"""A small Django site whose users connect their own amoCRM accounts, in the browser or from a mobile app."""
