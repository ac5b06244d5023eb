-- What the TPM of a camera showed when the camera was provisioned, in JSON; of those whose keys are in one.
CREATE TABLE device_tpm (
    device_id INTEGER PRIMARY KEY,
    evidence  TEXT    NOT NULL
) STRICT;
