-- Three roles for PostgreSQL: what the services may do, what the web service may do, and what people who query may do.
--
--   psql --dbname=pneumoscreen --file=docs/roles.sql
--
-- Run it as the owner of the tables (the role that ran `pneumoscreen db upgrade`), and again after each upgrade: a new
-- schema brings new tables and views. Running it twice changes nothing. Roles belong to the whole server: if the owner
-- may not create roles, an administrator runs the script the first time, the owner from then on.
-- The roles may log in, but have no password yet, so that none stands in a file: \password pneumoscreen_worker,
-- \password pneumoscreen_reviewer and \password pneumoscreen_reader ask for one.

\set ON_ERROR_STOP on
BEGIN;

-- Only what is missing is created, since even asking for it again needs an administrator. Another database of this server
-- may be creating the same role at this moment.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pneumoscreen_worker') THEN
        CREATE ROLE pneumoscreen_worker LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pneumoscreen_reviewer') THEN
        CREATE ROLE pneumoscreen_reviewer LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pneumoscreen_reader') THEN
        CREATE ROLE pneumoscreen_reader LOGIN;
    END IF;
    -- Against slips alone, since whoever is logged in can switch it off: what protects are the grants below.
    IF NOT EXISTS (
        SELECT FROM pg_roles
        WHERE rolname = 'pneumoscreen_reader'
        AND rolconfig @> ARRAY['default_transaction_read_only=on', 'TimeZone=UTC']
    ) THEN
        ALTER ROLE pneumoscreen_reader SET default_transaction_read_only = on;
        ALTER ROLE pneumoscreen_reader SET timezone = 'UTC'; -- as docs/results.md has its times and days
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;

-- Nobody but the owner makes tables; before PostgreSQL 15 everybody could.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM pneumoscreen_worker, pneumoscreen_reviewer, pneumoscreen_reader;
GRANT USAGE ON SCHEMA public TO pneumoscreen_worker, pneumoscreen_reviewer, pneumoscreen_reader;

-- What an earlier version of this script granted goes first, in the same transaction: nobody sees a gap.
REVOKE ALL ON
    sightings, jobs, predictions, screenings, dicom_headers, reviews, model_versions, promotions, training_runs, audit_log,
    workers, dead_letters, broker_epoch, source_states, source_arrivals, alembic_version, results, results_history,
    draws, draw_members, audit_samples, operating_points, shadow_runs, shadow_scores, drift_checks, version_notes, accuracy, worklist,
    drift_references, outbox, outbox_marks, destination_states, installation, reading_list, reading_leases, accounts, web_sessions, login_attempts, one_time_links, api_tokens
FROM pneumoscreen_worker, pneumoscreen_reviewer, pneumoscreen_reader;

-- Producer, worker, node, courier, and the commands screen, rescreen, retry, dismiss, review, calibrate draw, accuracy, results, status and models.
-- Of a prediction, once written, they can change no figure; they delete none, nor a result, a review or an entry of the audit log;
-- they make no model live, start no shadow, and ask for no result of a version that is not in service (jobs.override).
GRANT SELECT ON
    sightings, jobs, predictions, screenings, dicom_headers, reviews, model_versions, promotions, training_runs, audit_log,
    workers, dead_letters, broker_epoch, source_states, source_arrivals, alembic_version, results, results_history,
    draws, draw_members, audit_samples, operating_points, shadow_runs, shadow_scores, drift_checks, version_notes, accuracy, worklist
TO pneumoscreen_worker;
GRANT INSERT, UPDATE ON sightings, broker_epoch TO pneumoscreen_worker;
GRANT INSERT (
    sighting_id, model_version, lane, state, attempt, tries, strikes, created_at, sent_at, lease_until, not_before, deaths,
    problem, if_differs, is_check
), UPDATE (
    sighting_id, model_version, lane, state, attempt, tries, strikes, created_at, sent_at, lease_until, not_before, deaths,
    problem, if_differs, is_check
) ON jobs TO pneumoscreen_worker; -- all but override
GRANT INSERT ON shadow_scores TO pneumoscreen_worker;
GRANT USAGE ON SEQUENCE shadow_scores_id_seq TO pneumoscreen_worker;
GRANT UPDATE (decoder_revision, decoded_with) ON predictions TO pneumoscreen_worker; -- no figure of it
GRANT UPDATE (withdrawn_at, withdrawn_by, withdrawn_because, disagreement) ON reviews TO pneumoscreen_worker; -- a reader takes a word back
GRANT INSERT ON predictions, screenings, dicom_headers, reviews, audit_log, dead_letters TO pneumoscreen_worker;
GRANT INSERT ON audit_samples, draws, draw_members TO pneumoscreen_worker; -- what was drawn never changes
GRANT INSERT, UPDATE, DELETE ON workers TO pneumoscreen_worker; -- a process that ends removes its row
GRANT INSERT, UPDATE, DELETE ON source_states TO pneumoscreen_worker; -- what old producers said is removed
GRANT INSERT, UPDATE ON source_arrivals TO pneumoscreen_worker;
GRANT SELECT, INSERT, UPDATE ON reading_list TO pneumoscreen_worker; -- what is screened is put on the list of what to read
GRANT SELECT ON reading_leases TO pneumoscreen_worker;
GRANT SELECT, INSERT ON drift_references, drift_checks TO pneumoscreen_worker; -- what producers see of the sources' drift
GRANT UPDATE (images, since, until, sample) ON drift_references TO pneumoscreen_worker; -- when it is complete
GRANT SELECT, INSERT ON outbox, outbox_marks, destination_states, installation TO pneumoscreen_worker; -- what leaves the house
GRANT UPDATE (state, attempts, lease_until, not_before, problem, settled_at, replaces) ON outbox
TO pneumoscreen_worker; -- what a row states, and for whom it is, never changes
GRANT UPDATE ON outbox_marks, destination_states TO pneumoscreen_worker;
GRANT USAGE ON SEQUENCE outbox_id_seq TO pneumoscreen_worker;
GRANT USAGE ON SEQUENCE drift_references_id_seq, drift_checks_id_seq TO pneumoscreen_worker;
GRANT USAGE ON SEQUENCE
    sightings_id_seq, jobs_id_seq, predictions_id_seq, reviews_id_seq, audit_log_id_seq, dead_letters_id_seq,
    draws_id_seq
TO pneumoscreen_worker;

-- The web service. It adds words, takes back and hides none, and changes nothing that a model said; it asks for no screening and
-- starts no training. It logs people in and out and takes their new passwords. It makes no account and no one-time link, changes
-- nobody's role, draws no sample and applies no operating point: for these there is admin_database_url, or a command on the server.
GRANT SELECT ON
    sightings, jobs, predictions, screenings, dicom_headers, reviews, model_versions, promotions, training_runs, audit_log,
    workers, dead_letters, broker_epoch, source_states, source_arrivals, alembic_version, results, results_history,
    draws, draw_members, audit_samples, operating_points, shadow_runs, shadow_scores, drift_checks, version_notes, accuracy, worklist,
    drift_references, reading_list, reading_leases, accounts, web_sessions, login_attempts, one_time_links, api_tokens
TO pneumoscreen_reviewer;
GRANT INSERT ON reviews, audit_log TO pneumoscreen_reviewer;
GRANT UPDATE (withdrawn_at, withdrawn_by, withdrawn_because, disagreement) ON reviews TO pneumoscreen_reviewer; -- a reader takes a word back
GRANT UPDATE (hint) ON sightings TO pneumoscreen_reviewer; -- who may change no column may hold no row against its erasing
GRANT UPDATE (waits_for, readers) ON reading_list TO pneumoscreen_reviewer; -- an image that was read leaves it
GRANT INSERT, UPDATE, DELETE ON reading_leases TO pneumoscreen_reviewer;
GRANT UPDATE (password_hash, password_at) ON accounts TO pneumoscreen_reviewer;
GRANT INSERT, UPDATE (seen_at, revoked_at), DELETE ON web_sessions TO pneumoscreen_reviewer; -- old ones are deleted
GRANT INSERT, UPDATE (succeeded), DELETE ON login_attempts TO pneumoscreen_reviewer;
GRANT UPDATE (used_at) ON one_time_links TO pneumoscreen_reviewer;
GRANT INSERT, UPDATE (used_at, revoked_at) ON api_tokens TO pneumoscreen_reviewer;
GRANT USAGE ON SEQUENCE
    reviews_id_seq, audit_log_id_seq, web_sessions_id_seq, login_attempts_id_seq, api_tokens_id_seq
TO pneumoscreen_reviewer;

-- Whoever asks for results. The views run with their owner's rights, so the tables behind them stay closed;
-- alembic_version holds the number of the schema alone, by which `pneumoscreen results` knows that it fits.
GRANT SELECT ON results, results_history, accuracy, worklist, alembic_version TO pneumoscreen_reader;

COMMIT;
