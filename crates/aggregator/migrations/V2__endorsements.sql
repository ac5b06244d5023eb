-- What a submission aims at, and what vouches for it between verdict and record.
--
-- assurance: 1 attested (version 1 token), 2 endorsed (version 2). Of a confirmed row: that of its record, at least.
-- endorsement: key_id ‖ signature, stored with the verdict; gone with the record, since the registry has it then.
ALTER TABLE submission ADD COLUMN assurance INTEGER NOT NULL DEFAULT 1 CHECK (assurance IN (1, 2));

-- A version 1 token takes at most 162 bytes here, one with a binding at least 646 (store/token.rs).
UPDATE submission SET assurance = 2 WHERE state = 0 AND length(token) > 162;

ALTER TABLE submission ADD COLUMN endorsement BLOB
    CHECK ((endorsement IS NOT NULL) = (state = 1 AND assurance = 2));
