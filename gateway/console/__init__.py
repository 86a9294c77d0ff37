"""The security officer's and auditor's web pages: an app behind the gateway like any other."""
