"""The Digital Agency's auth-and-sign service (デジタル認証アプリサービス): an OpenID Provider that reads a My Number Card.

docs/ekyc/digital-agency.md has the way from application to production, and every fact this relies on with its source.
"""
