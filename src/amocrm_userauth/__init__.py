"""Each user's own amoCRM connection: OAuth, stored tokens, always a valid access token."""
