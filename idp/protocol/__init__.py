"""OpenID Connect, one file per endpoint. Pure: what is stored, the time and fresh randomness come in as arguments.

Built on Authlib's framework-free core (`grant`); tokens are signed and verified with joserfc (`tokens`).
"""
