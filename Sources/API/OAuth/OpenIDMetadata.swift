import ControlPlane
import Keys

extension JSONWriter {
    /// What makes the metadata document a configuration of OpenID Connect too (Discovery §3).
    mutating func openIDMembers(of issuer: Issuer) {
        string("userinfo_endpoint", issuer.endpoint("oauth/userinfo"))
        // `sub` is the user's id in their organization, the same for every client.
        strings("subject_types_supported", ["public"])
        strings("id_token_signing_alg_values_supported", ["RS256"])
        strings(
            "claims_supported",
            [
                "iss", "sub", "aud", "exp", "iat", "auth_time", "amr", "nonce", "at_hash", "org_id", "name",
                "updated_at", "email", "email_verified",
            ])
        strings("prompt_values_supported", ["none", "login", "consent", "select_account"])
        bool("claims_parameter_supported", false)
        bool("request_parameter_supported", false)
        // Absent would mean true. Pushed requests are referred to by our own URN only (RFC 9126 §5).
        bool("request_uri_parameter_supported", false)
    }
}
