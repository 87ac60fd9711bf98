-- How an organization ends, how its pages look, and since when its browsers have been idle.

-- Deletion has two steps: everything stops at once, and what it owned is erased when the time of grace is over.
ALTER TABLE organization
    ADD COLUMN deleted_at timestamptz,
    -- From then on it is erased, and until then it can be restored …
    ADD COLUMN deletes_at timestamptz,
    -- … to what it was.
    ADD COLUMN status_before_deletion text CHECK (status_before_deletion IN ('active', 'suspended')),
    -- Erasing has begun: nothing brings it back.
    ADD COLUMN erasing_since timestamptz,
    ADD COLUMN erased_at timestamptz;

-- The slug stays taken for ever; what else is left of its organization.
ALTER TABLE slug_route ADD COLUMN state text NOT NULL DEFAULT 'present' CHECK (state IN ('present', 'deleted', 'erased'));
CREATE INDEX slug_route_state ON slug_route (state, organization_id);

CREATE FUNCTION set_slug_state(wanted text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS NULL THEN RAISE EXCEPTION 'no organization' USING ERRCODE = '42501'; END IF;
    UPDATE public.slug_route SET state = wanted WHERE organization_id = public.current_organization();
END $$;

-- The ids of all organizations of a state in order of creation, for the platform's own list and for background work.
CREATE FUNCTION organizations_in(wanted text, last uuid, most bigint) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF public.current_organization() IS DISTINCT FROM public.platform_organization() THEN
        RAISE EXCEPTION 'not the platform' USING ERRCODE = '42501';
    END IF;
    RETURN QUERY SELECT r.organization_id FROM public.slug_route r
        WHERE r.state = wanted AND (last IS NULL OR r.organization_id > last)
          AND r.organization_id <> public.platform_organization()
        ORDER BY r.organization_id LIMIT most;
END $$;

-- Erases at most so many rows of each table that the caller's organization owns, whatever tables there are: one that is
-- added later is not forgotten. Its own row, its epoch, its log and the keys that prove the log stay.
CREATE FUNCTION erase_rows(most bigint, OUT erased bigint, OUT blocked boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    name text;
    gone bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.organization o WHERE o.organization_id = public.current_organization()
                      AND o.status = 'deleted' AND o.erasing_since IS NOT NULL) THEN
        RAISE EXCEPTION 'this organization is not to be erased' USING ERRCODE = '42501';
    END IF;
    erased := 0;
    blocked := false;
    FOR name IN
        SELECT c.relname FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relname NOT IN ('organization', 'epoch') AND c.relname NOT LIKE 'audit\_%'
           AND has_table_privilege(c.oid, 'DELETE')
         ORDER BY c.relname
    LOOP
        BEGIN
            EXECUTE format(
                'DELETE FROM public.%1$I WHERE organization_id = $1 AND ctid IN '
                '(SELECT ctid FROM public.%1$I WHERE organization_id = $1 %2$s LIMIT $2)', name,
                CASE name WHEN 'signing_key' THEN 'AND purpose NOT IN (''audit'', ''export'')' ELSE '' END)
                USING public.current_organization(), most;
            GET DIAGNOSTICS gone = ROW_COUNT;
            erased := erased + gone;
        EXCEPTION WHEN foreign_key_violation THEN
            -- What refers to these rows goes first.
            blocked := true;
        END;
    END LOOP;
END $$;

-- Gives back every name that a deleted organization held, except its slug.
CREATE FUNCTION release_routes() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE name text;
BEGIN
    IF NOT EXISTS (SELECT FROM public.slug_route WHERE organization_id = public.current_organization()
                      AND state = 'deleted') THEN
        RAISE EXCEPTION 'this organization is not deleted' USING ERRCODE = '42501';
    END IF;
    FOR name IN
        SELECT c.relname FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname LIKE '%\_route'
           AND c.relname <> 'slug_route'
    LOOP
        EXECUTE format('DELETE FROM public.%I WHERE organization_id = $1', name) USING public.current_organization();
    END LOOP;
END $$;

-- When the session last did something, by the minute.
ALTER TABLE session ADD COLUMN last_used_at timestamptz;

-- How an organization's pages look to its people.
CREATE TABLE branding (
    organization_id uuid PRIMARY KEY REFERENCES organization (organization_id),
    display_name text,
    -- #rrggbb; for pages that are light, and for dark ones.
    accent_light text,
    accent_dark text,
    logo bytea,
    logo_type text CHECK (logo_type IN ('image/png', 'image/jpeg', 'image/webp')),
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL,
    CHECK ((logo IS NULL) = (logo_type IS NULL))
);
ALTER TABLE branding ENABLE ROW LEVEL SECURITY;
ALTER TABLE branding FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON branding TO gatehouse_app USING (organization_id =
    (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON branding TO gatehouse_app;

-- As in 0008, for lists by resource.
CREATE INDEX grant_resource ON "grant" (organization_id, resource_id) WHERE resource_id IS NOT NULL;

REVOKE EXECUTE ON FUNCTION set_slug_state(text), organizations_in(text, uuid, bigint), erase_rows(bigint),
    release_routes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_slug_state(text), organizations_in(text, uuid, bigint), erase_rows(bigint),
    release_routes() TO gatehouse_app;
