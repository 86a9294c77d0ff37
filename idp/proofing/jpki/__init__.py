"""Identity proofing with the My Number Card's own certificates, verified here: for institutions that are a certified verifier
(署名検証者, 利用者証明検証者), or have a contract with one. `checks` has the list of what is checked; docs/ekyc/jpki.md the rest.
"""
