"""The browser side of the identity provider: protocol endpoints and sign-in pages."""
