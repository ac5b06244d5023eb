-- Passes in the order in which they were given, a batch a row. They are on disk here before anyone is
-- told, and go to used_token, used_counter and device_use later, sorted and in bulk: a random row there
-- costs a page of its own.
CREATE TABLE pass (
    number INTEGER PRIMARY KEY,
    passes BLOB    NOT NULL
) STRICT;
