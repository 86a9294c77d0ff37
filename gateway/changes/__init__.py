"""The life of a change of the policies: draft, check, cases, approval by a second person, publication, rollback, history."""
