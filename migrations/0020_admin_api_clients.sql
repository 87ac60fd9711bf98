-- Clients that people may administer their organization with: the tokens they get open the admin API. Only what an
-- administrator registered can be one; never what registered by itself, is a document, or speaks for itself.
ALTER TABLE client ADD COLUMN admin_api_access boolean NOT NULL DEFAULT false
    CHECK (NOT admin_api_access OR kind = 'registered');
