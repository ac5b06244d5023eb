-- The aggregator (scheme, host and port) that may have taken the row's token in: stored before the token is first
-- sent to it, so that nobody else is asked as long as it can be asked.
ALTER TABLE photo ADD COLUMN aggregator TEXT;
