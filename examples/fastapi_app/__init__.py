"""A small backend whose users connect their own amoCRM accounts from a mobile app."""
