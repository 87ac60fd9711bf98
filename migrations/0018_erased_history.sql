-- What is erased of a deleted organization takes its history of access with it.

-- The history is out of reach for the serving role. What it knows of the organization itself stays.
CREATE FUNCTION erase_access_history(most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE gone bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.slug_route WHERE organization_id = public.current_organization()
                      AND state = 'deleted') THEN
        RAISE EXCEPTION 'this organization is not deleted' USING ERRCODE = '42501';
    END IF;
    DELETE FROM public.access_history h WHERE h.organization_id = public.current_organization() AND h.ctid IN
        (SELECT ctid FROM public.access_history i WHERE i.organization_id = public.current_organization()
            AND i.kind <> 'organization' LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
GRANT DELETE ON access_review TO gatehouse_app;

CREATE OR REPLACE FUNCTION erase_rows(most bigint, OUT erased bigint, OUT blocked boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    name text;
    gone bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM public.organization o WHERE o.organization_id = public.current_organization()
                      AND o.status = 'deleted' AND o.erasing_since IS NOT NULL) THEN
        RAISE EXCEPTION 'this organization is not to be erased' USING ERRCODE = '42501';
    END IF;
    erased := public.erase_access_history(most);
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

REVOKE EXECUTE ON FUNCTION erase_access_history(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_access_history(bigint) TO gatehouse_app;
