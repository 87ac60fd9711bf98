-- Roles, what is brought in or erased in bulk, and the erasure of personal data from the log.

-- A name for a kind of person in one organization, which scope policies may name, and which stands for admin access.
CREATE TABLE role (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    name text NOT NULL,
    description text,
    -- One of those that every organization has; the program knows what it stands for. Null: made by the organization.
    built_in text CHECK (built_in IN ('owner', 'admin', 'auditor', 'member')),
    -- What admin access a role of the organization's own stands for.
    admin_scopes text[] NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    UNIQUE (organization_id, built_in),
    CHECK (built_in IS NULL OR admin_scopes = '{}')
);
CREATE UNIQUE INDEX role_name ON role (organization_id, lower(name)) WHERE name IS NOT NULL;

-- Who has a role: a user, or everybody in a group.
CREATE TABLE role_binding (
    organization_id uuid NOT NULL,
    role_id uuid NOT NULL,
    -- The user or the group.
    principal_id uuid NOT NULL,
    user_id uuid,
    group_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, role_id, principal_id),
    FOREIGN KEY (organization_id, role_id) REFERENCES role (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES "user" (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, group_id) REFERENCES "group" (organization_id, id) ON DELETE CASCADE,
    CHECK ((user_id IS NULL) <> (group_id IS NULL)),
    CHECK (principal_id = coalesce(user_id, group_id))
);
CREATE INDEX role_binding_user ON role_binding (organization_id, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX role_binding_group ON role_binding (organization_id, group_id) WHERE group_id IS NOT NULL;

-- A UUIDv7 (RFC 9562 section 5.7): a random one with the time in its first 48 bits and the version bits set.
CREATE FUNCTION new_id(at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE
    RETURN encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid;

-- Every organization has the built-in roles from the moment it exists, whichever release made it.
CREATE FUNCTION make_built_in_roles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.organization_id <> platform_organization() THEN
        INSERT INTO role (organization_id, id, name, built_in, admin_scopes, created_at, updated_at)
        SELECT NEW.organization_id, new_id(NEW.created_at), word, word, '{}', NEW.created_at, NEW.created_at
          FROM unnest(ARRAY['owner', 'admin', 'auditor', 'member']) AS word;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER built_in_roles AFTER INSERT ON organization FOR EACH ROW EXECUTE FUNCTION make_built_in_roles();
INSERT INTO role (organization_id, id, name, built_in, admin_scopes, created_at, updated_at)
SELECT organization_id, new_id(now()), word, word, '{}', now(), now()
  FROM slug_route, unnest(ARRAY['owner', 'admin', 'auditor', 'member']) AS word
 WHERE organization_id <> platform_organization();

-- People whose address begins in a certain way, in the order of their addresses.
CREATE INDEX user_email_prefix ON "user" (organization_id, (lower(email) COLLATE "C")) WHERE email IS NOT NULL;
-- Few are disabled; nearly everybody is active.
CREATE INDEX user_disabled ON "user" (organization_id, id) WHERE status = 'disabled';
CREATE INDEX invitation_email ON invitation (organization_id, lower(email)) WHERE email IS NOT NULL;

-- What an accepted invitation gives.
ALTER TABLE invitation
    ADD COLUMN group_ids uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN role_ids uuid[] NOT NULL DEFAULT '{}';

-- Long work, done by any node in small steps; what it was asked to do and how far it is.
CREATE TABLE operation (
    organization_id uuid NOT NULL REFERENCES organization (organization_id),
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('users.import', 'user.erasure')),
    status text NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    -- How much there is to do and how much of it is done: rows of an import, events of a log.
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    -- How often each outcome came: {"created": 5}.
    outcomes jsonb NOT NULL DEFAULT '{}',
    -- What the work needs to know; null once it is over.
    input jsonb,
    created_by text NOT NULL,
    -- The request that asked for it.
    request jsonb,
    -- Steps that failed since the last one that did not.
    failures integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (organization_id, id)
);
CREATE TABLE operation_row (
    organization_id uuid NOT NULL,
    operation_id uuid NOT NULL,
    -- The line of the body, from 1.
    row bigint NOT NULL,
    -- What the line says; null once it is done, since it is about a person.
    input jsonb,
    outcome text CHECK (outcome IN ('created', 'updated', 'unchanged', 'failed')),
    user_id uuid,
    code text,
    pointer text,
    detail text,
    PRIMARY KEY (organization_id, operation_id, row),
    FOREIGN KEY (organization_id, operation_id) REFERENCES operation (organization_id, id) ON DELETE CASCADE
);

-- Operations that are not over, of all organizations, and which node works on them until when. No table privileges: a
-- step holds the row's lock until its transaction ends, so no two nodes ever do one step, whatever they believe.
CREATE TABLE operation_route (
    operation_id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    -- Chosen by whoever took it; null: nobody has.
    lease uuid,
    leased_until timestamptz NOT NULL
);
CREATE INDEX operation_route_due ON operation_route (leased_until);

CREATE FUNCTION enqueue_operation(wanted uuid, seconds integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    INSERT INTO public.operation_route (operation_id, organization_id, leased_until)
    VALUES (wanted, public.current_organization(), clock_timestamp() + make_interval(secs => seconds));
END $$;
-- For background work alone: takes the one that waited longest and that nobody has.
CREATE FUNCTION lease_operation(holder uuid, seconds integer, OUT organization_id uuid, OUT operation_id uuid)
    RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS DISTINCT FROM public.platform_organization() THEN
        RAISE EXCEPTION 'not the platform' USING ERRCODE = '42501';
    END IF;
    RETURN QUERY UPDATE public.operation_route r
        SET lease = holder, leased_until = clock_timestamp() + make_interval(secs => seconds)
        WHERE r.operation_id = (SELECT d.operation_id FROM public.operation_route d
            WHERE d.leased_until <= clock_timestamp() ORDER BY d.leased_until LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING r.organization_id, r.operation_id;
END $$;
CREATE FUNCTION operation_is_due() RETURNS boolean
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public
    RETURN EXISTS (SELECT FROM public.operation_route WHERE leased_until <= clock_timestamp());
-- Keeps an operation for so many seconds more, and from everybody else until the transaction ends.
CREATE FUNCTION hold_operation(wanted uuid, holder uuid, seconds integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE public.operation_route SET leased_until = clock_timestamp() + make_interval(secs => seconds)
        WHERE operation_id = wanted AND organization_id = public.current_organization() AND lease = holder;
    RETURN FOUND;
END $$;
CREATE FUNCTION end_operation(wanted uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        DELETE FROM public.operation_route WHERE operation_id = wanted AND organization_id = public.current_organization();
    END;

-- Erasure. A disclosure is base64url of [salt, path, value]; without it the digest in the leaf says nothing any more, and
-- every proof stays valid.
CREATE FUNCTION disclosed(disclosure text) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN convert_from(decode(rpad(translate(disclosure, '-_', '+/'), (length(disclosure) + 3) / 4 * 4, '='), 'base64'),
        'UTF8')::jsonb;

-- What is left of an event's disclosures once a person is forgotten: nothing of what the person did themselves, or of
-- somebody unknown who proved the person's address; of what others did to them, all but who those others were.
CREATE FUNCTION without_person(disclosures text[], actor text, target text, leaf bytea, person text, address text,
        also text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN disclosures = '{}' THEN disclosures
        WHEN actor = person THEN '{}'
        WHEN EXISTS (SELECT FROM unnest(disclosures) d, LATERAL (SELECT disclosed(d) AS it) o
                      WHERE it ->> 1 = 'actor.email' AND lower(it ->> 2) = address) THEN '{}'
        ELSE ARRAY(SELECT d FROM unnest(disclosures) WITH ORDINALITY AS u (d, place), LATERAL (SELECT disclosed(d) AS it) o
                    WHERE NOT (coalesce(lower(it ->> 2) = address, false)
                            OR ((target = ANY (also) OR position(convert_to(person, 'UTF8') IN leaf) > 0)
                                AND it ->> 1 NOT LIKE 'actor.%' AND it ->> 1 NOT LIKE 'context.%'))
                    ORDER BY place)
        END;

CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE same record;
BEGIN
    -- Only the functions below act as the table's owner.
    IF TG_OP = 'UPDATE' AND TG_LEVEL = 'ROW'
        AND current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID) THEN
        same := NEW;
        same.disclosures := OLD.disclosures;
        IF same IS NOT DISTINCT FROM OLD AND NEW.disclosures <@ OLD.disclosures THEN RETURN NEW; END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = '42501';
END $$;
-- The owner has no policy of its own elsewhere; here it sees the one organization that the caller is in.
CREATE POLICY erasure ON audit_event TO CURRENT_USER USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
CREATE POLICY erasure ON audit_outbox TO CURRENT_USER USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));

-- Forgets a person in the part of the log from one place to another. Says how many disclosures went.
CREATE FUNCTION erase_disclosures(person text, address text, also text[], first bigint, past bigint) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        WITH found AS (
            SELECT e.organization_id, e.seq, cardinality(e.disclosures) AS before, w.kept
              FROM public.audit_event e, LATERAL (SELECT public.without_person(e.disclosures, e.actor_id, e.target_id, e.leaf,
                       person, address, also) AS kept) w
             WHERE e.organization_id = public.current_organization() AND e.seq >= first AND e.seq < past
               AND w.kept <> e.disclosures
        ), erased AS (
            UPDATE public.audit_event e SET disclosures = f.kept FROM found f
             WHERE e.organization_id = f.organization_id AND e.seq = f.seq
            RETURNING f.before - cardinality(f.kept) AS gone
        )
        SELECT coalesce(sum(gone), 0)::bigint FROM erased;
    END;
-- The same for events that have no place in the log yet.
CREATE FUNCTION erase_queued_disclosures(person text, address text, also text[]) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public
    BEGIN ATOMIC
        WITH erased AS (
            UPDATE public.audit_outbox e SET disclosures = public.without_person(e.disclosures, e.actor_id, e.target_id,
                       e.leaf_prefix || e.leaf_suffix, person, address, also)
             WHERE e.organization_id = public.current_organization()
               AND e.disclosures <> public.without_person(e.disclosures, e.actor_id, e.target_id,
                       e.leaf_prefix || e.leaf_suffix, person, address, also)
            RETURNING 1
        )
        SELECT count(*) FROM erased;
    END;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['role', 'role_binding', 'operation', 'operation_row']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO gatehouse_app USING (organization_id = '
            '(SELECT nullif(current_setting(''app.organization_id'', true), '''')::uuid))', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO gatehouse_app', name);
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION new_id(timestamptz), make_built_in_roles(), enqueue_operation(uuid, integer),
    lease_operation(uuid, integer), operation_is_due(), hold_operation(uuid, uuid, integer), end_operation(uuid),
    disclosed(text), without_person(text[], text, text, bytea, text, text, text[]),
    erase_disclosures(text, text, text[], bigint, bigint), erase_queued_disclosures(text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION new_id(timestamptz), enqueue_operation(uuid, integer), lease_operation(uuid, integer),
    operation_is_due(), hold_operation(uuid, uuid, integer), end_operation(uuid),
    erase_disclosures(text, text, text[], bigint, bigint), erase_queued_disclosures(text, text, text[]) TO gatehouse_app;
