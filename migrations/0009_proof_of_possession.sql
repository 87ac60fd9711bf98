-- The key that a public client has to prove with every refresh token of this grant (RFC 9449 section 5): an RFC 7638
-- thumbprint by SHA-256, base64url. Null where the tokens are bound to the client's own authentication, or to nothing.
ALTER TABLE "grant" ADD COLUMN dpop_jkt text;

-- What a client demands of requests in its name (RFC 9449 section 5.2, RFC 9126 section 6).
ALTER TABLE client ADD COLUMN dpop_bound_access_tokens boolean NOT NULL DEFAULT false;
ALTER TABLE client ADD COLUMN require_pushed_authorization_requests boolean NOT NULL DEFAULT false;
