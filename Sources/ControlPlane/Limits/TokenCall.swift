package import Audit
package import Foundation
import Keys
package import Tenancy

extension EndpointLimits.ClientCall {
    /// A token request. At the platform's issuer its organization is the one that code or refresh token carry: whoever
    /// makes one up is refused, and gets nothing from having named somebody.
    package init(
        _ wanted: TokenRequest, by credentials: ClientCredentials, at issuer: OrganizationID,
        request: AuditEvent.RequestInfo,
        at now: Date
    ) {
        var organization: OrganizationID?
        var grant: GrantID?
        var isPoll = false
        switch wanted {
        case .refreshToken(let token, _, _):
            if let ids = RefreshToken.ids(in: token) { (organization, grant) = ids }
        case .authorizationCode(let code, _, _, _):
            if issuer == .platform { organization = AuthorizationCode(code)?.organization }
        case .deviceCode: isPoll = true
        case .clientCredentials, .tokenExchange, .assertion: break
        }
        self.init(
            .token, at: issuer, for: organization, by: credentials, grant: grant, isPoll: isPoll, request: request,
            at: now)
    }
}
