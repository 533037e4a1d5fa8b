"""A strict server of Microsoft Graph's mail and of Entra's tokens, for tests: the documented subset only."""
