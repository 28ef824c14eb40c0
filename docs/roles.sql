-- Two roles for PostgreSQL: what the services may do, and what people who query may do.
--
--   psql --dbname=pneumoscreen --file=docs/roles.sql
--
-- Run it as the owner of the tables (the role that ran `pneumoscreen db upgrade`), who must be allowed to create roles,
-- and again after each upgrade: a new schema brings new tables and views. Running it twice changes nothing.
-- Then give each role a password: \password pneumoscreen_worker

\set ON_ERROR_STOP on
BEGIN;

DO $$ BEGIN CREATE ROLE pneumoscreen_worker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE pneumoscreen_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM pneumoscreen_worker, pneumoscreen_reader;
GRANT USAGE ON SCHEMA public TO pneumoscreen_worker, pneumoscreen_reader;

-- Producer, worker, and the commands screen, retry, review, results and status. A result, once written, cannot be changed
-- or deleted by them, nor can a review or an entry of the audit log; and no model can be made live.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO pneumoscreen_worker;
GRANT INSERT, UPDATE ON sightings, jobs, broker_epoch TO pneumoscreen_worker;
GRANT INSERT ON predictions, dicom_headers, reviews, audit_log, dead_letters TO pneumoscreen_worker;
GRANT INSERT, UPDATE, DELETE ON workers TO pneumoscreen_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO pneumoscreen_worker;

-- Whoever asks for results. The views run with their owner's rights, so the tables behind them stay closed.
GRANT SELECT ON results, results_history TO pneumoscreen_reader;
ALTER ROLE pneumoscreen_reader SET default_transaction_read_only = on;

COMMIT;
