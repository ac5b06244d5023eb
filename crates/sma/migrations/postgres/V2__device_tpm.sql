-- What the TPM of a camera showed when the camera was provisioned, in JSON; of those whose keys are in one.
CREATE TABLE device_tpm (
    device_id bigint PRIMARY KEY,
    evidence  text   NOT NULL
);
