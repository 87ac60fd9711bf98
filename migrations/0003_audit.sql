-- The audit log: events are committed to the outbox with the change they record, and moved by the sequencer into
-- each organization's dense, append-only log.

CREATE TABLE audit_outbox (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    -- One sequencer worker at a time takes a shard.
    shard smallint NOT NULL GENERATED ALWAYS AS (get_byte(uuid_send(organization_id), 15) & 15) STORED,
    -- The clock of the primary, which writers cannot choose; with id, the order in which events are sequenced.
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    type text NOT NULL,
    time timestamptz NOT NULL,
    outcome text NOT NULL,
    severity smallint NOT NULL,
    actor_id text NOT NULL,
    client_id text,
    target_id text NOT NULL,
    -- The canonical leaf is prefix ‖ decimal seq ‖ suffix.
    leaf_prefix bytea NOT NULL,
    leaf_suffix bytea NOT NULL,
    -- Salted personal fields whose digests stand in the leaf; deleting one leaves every proof valid.
    disclosures text[] NOT NULL,
    PRIMARY KEY (organization_id, id),
    -- With the longest seq, the entry limit of tlog-tiles.
    CHECK (octet_length(leaf_prefix) + octet_length(leaf_suffix) + 19 <= 65535)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX audit_outbox_order ON audit_outbox (shard, recorded_at, id);

-- How many events a log has, which is the seq of its next one. A row appears with the first event.
CREATE TABLE audit_head (
    organization_id uuid PRIMARY KEY,
    size bigint NOT NULL CHECK (size >= 0)
) WITH (fillfactor = 70);

CREATE TABLE audit_event (
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    logged_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    type text NOT NULL,
    time timestamptz NOT NULL,
    outcome text NOT NULL,
    severity smallint NOT NULL,
    actor_id text NOT NULL,
    client_id text,
    target_id text NOT NULL,
    leaf bytea NOT NULL,
    -- SHA-256(0x00 ‖ leaf), RFC 6962 §2.1.
    leaf_hash bytea NOT NULL,
    disclosures text[] NOT NULL,
    PRIMARY KEY (organization_id, seq),
    UNIQUE (organization_id, id)
);
CREATE INDEX audit_event_type ON audit_event (organization_id, type, seq);
CREATE INDEX audit_event_actor ON audit_event (organization_id, actor_id, seq);

-- Append-only for everybody who does not change the schema itself.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER no_truncate;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_outbox', 'audit_head', 'audit_event']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
        EXECUTE format('CREATE POLICY sequencer ON %I TO gatehouse_sequencer USING (true) WITH CHECK (true)', name);
    END LOOP;
END $$;
GRANT SELECT, INSERT (organization_id, id, type, time, outcome, severity, actor_id, client_id, target_id, leaf_prefix,
    leaf_suffix, disclosures) ON audit_outbox TO gatehouse_app;
GRANT SELECT ON audit_head, audit_event TO gatehouse_app;
GRANT SELECT, DELETE ON audit_outbox TO gatehouse_sequencer;
GRANT SELECT, INSERT, UPDATE (size) ON audit_head TO gatehouse_sequencer;
GRANT SELECT, INSERT ON audit_event TO gatehouse_sequencer;
REVOKE EXECUTE ON FUNCTION refuse_audit_change() FROM PUBLIC;
