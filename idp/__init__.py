"""The embedded OpenID Provider. It knows nothing of the gateway but its kernel; the gateway knows it through OIDC only."""
