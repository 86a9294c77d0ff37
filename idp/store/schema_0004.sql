-- What a proofing lets the provider state about the person, and what waits to be bound until officers have decided.

-- Which entries of the staff ledger ('name', 'birthdate') the verifier confirmed. An entry that is changed later was never confirmed.
CREATE TABLE proofing_stated (
    proofing_id INTEGER NOT NULL REFERENCES proofing (id) ON DELETE CASCADE,
    claim       TEXT NOT NULL,
    PRIMARY KEY (proofing_id, claim)
) STRICT;

CREATE TRIGGER proofing_stated_name AFTER UPDATE OF name ON user WHEN NEW.name IS NOT OLD.name BEGIN
    DELETE FROM proofing_stated WHERE claim = 'name' AND proofing_id IN (SELECT id FROM proofing WHERE user_id = OLD.id);
END;

CREATE TRIGGER proofing_stated_birthdate AFTER UPDATE OF birth_date ON user WHEN NEW.birth_date IS NOT OLD.birth_date BEGIN
    DELETE FROM proofing_stated WHERE claim = 'birthdate' AND proofing_id IN (SELECT id FROM proofing WHERE user_id = OLD.id);
END;

-- The authenticators of a ceremony that ended in a case: they are bound when it is approved.
CREATE TABLE proofing_case_binding (
    case_id       TEXT NOT NULL REFERENCES proofing_case (id) ON DELETE CASCADE,
    authenticator TEXT NOT NULL,
    PRIMARY KEY (case_id, authenticator)
) STRICT;
