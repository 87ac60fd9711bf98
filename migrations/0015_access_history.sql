-- What decided who could do what, and from when until when it did; and the reviews made from it.

-- The states of the rows of tables that track_access() named. It shows what stood in them and never who a person is: no
-- name, no address, no secret.
CREATE TABLE access_history (
    organization_id uuid NOT NULL,
    -- The table, and the row's key below the organization; the parts of a longer key are parted by a slash.
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    -- It held from this moment on, and until before that one: when the transactions that made and ended it committed.
    valid_from timestamptz NOT NULL,
    valid_until timestamptz NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (organization_id, kind, id, valid_from),
    CHECK (valid_from < valid_until)
) WITH (fillfactor = 90);

-- The moment of this transaction: one for all that it changes. It is taken when the transaction commits, since only then
-- does it hold every row that it changed: whoever changes one of them next gets a later moment. A setting of the
-- transaction carries it from one row to the next; a value that cannot be this transaction's is not believed.
CREATE FUNCTION access_moment() RETURNS timestamptz
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    moment timestamptz := nullif(current_setting('app.access_moment', true), '')::timestamptz;
BEGIN
    IF moment BETWEEN transaction_timestamp() AND clock_timestamp() THEN RETURN moment; END IF;
    moment := clock_timestamp();
    PERFORM set_config('app.access_moment', moment::text, true);
    RETURN moment;
END $$;

-- Writes down that a row has a new state. Arguments: its key columns, and the members of its state as paths into the row.
CREATE FUNCTION keep_access() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    content jsonb := to_jsonb(CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END);
    organization uuid := content ->> 'organization_id';
    key text := (SELECT string_agg(content ->> name, '/' ORDER BY place)
                   FROM unnest(TG_ARGV[0]::text[]) WITH ORDINALITY AS part (name, place));
    wanted jsonb := (SELECT coalesce(jsonb_object_agg(member, content #> string_to_array(member, '.')), '{}')
                       FROM unnest(TG_ARGV[1]::text[]) AS member);
    moment timestamptz := access_moment();
    last access_history;
BEGIN
    SELECT * INTO last FROM access_history h
     WHERE h.organization_id = organization AND h.kind = TG_TABLE_NAME AND h.id = key
     ORDER BY h.valid_from DESC LIMIT 1;
    IF last.valid_until = 'infinity' THEN
        IF TG_OP <> 'DELETE' AND last.state = wanted THEN RETURN NULL; END IF;
        IF last.valid_from = moment THEN
            -- Of one transaction, or one microsecond, only the last state counts.
            DELETE FROM access_history h
             WHERE h.organization_id = organization AND h.kind = TG_TABLE_NAME AND h.id = key AND h.valid_from = moment;
        ELSE
            -- A clock that was set back does not turn the order of two changes round.
            moment := greatest(moment, last.valid_from + interval '1 microsecond');
            UPDATE access_history h SET valid_until = moment
             WHERE h.organization_id = organization AND h.kind = TG_TABLE_NAME AND h.id = key
               AND h.valid_from = last.valid_from;
        END IF;
    ELSE
        moment := greatest(moment, last.valid_until);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO access_history VALUES (organization, TG_TABLE_NAME, key, moment, 'infinity', wanted);
    END IF;
    RETURN NULL;
END $$;

-- From now on the history keeps the states of a table's rows, beginning with the present ones.
--
-- members: columns, or paths into a jsonb column with dots; none where being there is all. counts: a condition on a row,
-- which is %s; rows that do not meet it are left out until they do.
CREATE FUNCTION track_access(tracked regclass, keys text[], members text[], counts text DEFAULT 'true') RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    name text := (SELECT relname FROM pg_class WHERE oid = tracked);
    arguments text := format('%L, %L', keys, members);
    columns text[] := (SELECT array_agg(DISTINCT quote_ident(split_part(member, '.', 1))) FROM unnest(members) AS member);
    old_columns text := (SELECT string_agg('OLD.' || c, ', ') FROM unnest(columns) AS c);
    new_columns text := (SELECT string_agg('NEW.' || c, ', ') FROM unnest(columns) AS c);
BEGIN
    EXECUTE format('CREATE CONSTRAINT TRIGGER access_begins AFTER INSERT ON %s DEFERRABLE INITIALLY DEFERRED '
        'FOR EACH ROW WHEN (%s) EXECUTE FUNCTION keep_access(%s)', tracked, format(counts, 'NEW'), arguments);
    IF members <> '{}' THEN
        EXECUTE format('CREATE CONSTRAINT TRIGGER access_changes AFTER UPDATE %s ON %s DEFERRABLE INITIALLY DEFERRED '
            'FOR EACH ROW WHEN ((%s) AND (NOT (%s) OR ROW (%s) IS DISTINCT FROM ROW (%s))) EXECUTE FUNCTION keep_access(%s)',
            CASE counts WHEN 'true' THEN 'OF ' || array_to_string(columns, ', ') ELSE '' END, tracked,
            format(counts, 'NEW'), format(counts, 'OLD'), old_columns, new_columns, arguments);
    END IF;
    EXECUTE format('CREATE CONSTRAINT TRIGGER access_ends AFTER DELETE ON %s DEFERRABLE INITIALLY DEFERRED '
        'FOR EACH ROW WHEN (%s) EXECUTE FUNCTION keep_access(%s)', tracked, format(counts, 'OLD'), arguments);
    -- The owner too sees rows through policies alone, and has none here.
    EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', tracked);
    EXECUTE format('INSERT INTO access_history SELECT t.organization_id, %L, '
        '(SELECT string_agg(to_jsonb(t) ->> part.name, ''/'' ORDER BY part.place) FROM unnest(%L::text[]) '
        'WITH ORDINALITY AS part (name, place)), access_moment(), ''infinity'', '
        '(SELECT coalesce(jsonb_object_agg(member, to_jsonb(t) #> string_to_array(member, ''.'')), ''{}'') '
        'FROM unnest(%L::text[]) AS member) FROM %s t WHERE %s', name, keys, members, tracked, format(counts, 't'));
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tracked);
END $$;

-- A connection says itself when it began, and what it is never changes while it lives: only its end is written down, with
-- what it was. So making one costs nothing, and using one nothing either.
CREATE FUNCTION keep_ended_grant() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    moment timestamptz := access_moment();
    begun timestamptz := greatest(OLD.created_at, (
        SELECT max(h.valid_until) FROM access_history h
         WHERE h.organization_id = OLD.organization_id AND h.kind = 'grant' AND h.id = OLD.id::text));
BEGIN
    -- The serving node's clock said when it began; it may be ahead.
    INSERT INTO access_history VALUES (
        OLD.organization_id, 'grant', OLD.id::text, least(begun, moment - interval '1 microsecond'), moment,
        jsonb_build_object(
            'user_id', OLD.user_id, 'client_id', OLD.client_id, 'resource_id', OLD.resource_id,
            'issuer_organization_id', OLD.issuer_organization_id, 'scope', OLD.scope, 'created_at', OLD.created_at,
            'last_used_at', OLD.last_used_at, 'idle_expires_at', OLD.idle_expires_at, 'expires_at', OLD.expires_at))
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER access_changes AFTER UPDATE OF status, scope ON "grant" DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.status = 'active' AND ROW (OLD.status, OLD.scope) IS DISTINCT FROM ROW (NEW.status, NEW.scope))
    EXECUTE FUNCTION keep_ended_grant();
CREATE CONSTRAINT TRIGGER access_ends AFTER DELETE ON "grant" DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.status = 'active') EXECUTE FUNCTION keep_ended_grant();
-- Reviews look for the connections of some people that were ended later.
CREATE INDEX access_history_grant_user ON access_history (organization_id, (state ->> 'user_id'), valid_until)
    WHERE kind = 'grant';

-- A question that was put to the history: who could do what at a moment. Its answer is worked out when it is read.
CREATE TABLE access_review (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    -- What it is narrowed to; all of it has to hold. These need not exist any more.
    user_id uuid,
    client_id uuid,
    resource_id uuid,
    group_id uuid,
    -- How many combinations of principal, client and resource were looked at.
    combinations bigint NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['access_history', 'access_review']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
    END LOOP;
END $$;
-- Only the triggers write history, with the rights of their owner: whoever serves can read it and not change it.
CREATE POLICY keeper ON access_history TO CURRENT_USER USING (true) WITH CHECK (true);
GRANT SELECT ON access_history TO gatehouse_app;
GRANT SELECT, INSERT ON access_review TO gatehouse_app;
REVOKE EXECUTE ON FUNCTION access_moment(), keep_access(), keep_ended_grant(), track_access(regclass, text[], text[], text)
    FROM PUBLIC;

SELECT track_access('organization', '{organization_id}', '{status, settings.onboarding, settings.approval_required_for,
    settings.grant_lifetime_seconds, settings.grant_idle_lifetime_seconds}');
SELECT track_access('"user"', '{id}', '{status}');
-- A registration that nobody uses opens nothing.
SELECT track_access('client', '{id}', '{kind, status, scope_ceiling, redirect_uris, document_url, preregistered}',
    '%s.expires_at IS NULL');
SELECT track_access('client_admission', '{client_id}', '{status, registry_organization_id}');
SELECT track_access('resource', '{id}', '{uri, status, scopes, scope_implications, accepted_issuers}');
SELECT track_access('resource_admission', '{resource_id}', '{status}');
SELECT track_access('scope_policy', '{id}', '{name, effect, principals, clients, resources, scopes, conditions}');
SELECT track_access('"group"', '{id}', '{}');
SELECT track_access('group_member', '{user_id, group_id}', '{}');
