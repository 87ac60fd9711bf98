import Foundation
import Tenancy

extension Administration {
    /// Who makes a client open the admin API, or changes where the answers to such a client go and how it proves itself,
    /// decides who may act as any administrator that uses it. That takes what making keys takes, for good and from anywhere.
    /// Switching it off takes nothing more.
    ///
    /// - Throws: ``AdminError/forbidden(missingScope:)``.
    func checkAdminAccess(
        of client: Client, insteadOf old: Client?, by administrator: Administrator, _ checks: inout FieldChecks
    ) throws {
        guard client.opensAdminAPI else { return }
        if var ended = old {
            ended.status = .disabled
            if client == ended { return }
        }
        guard administrator.holds(.adminKeysWrite) else {
            throw AdminError.forbidden(missingScope: .adminKeysWrite)
        }
        checks.anyAddress("/admin_api_access", givenBy: administrator)
        checks.end(nil, "/admin_api_access", givenBy: administrator)
        checks.require(
            client.kind == .registered && client.registry != .platform
                && client.grantTypes.contains("authorization_code"), "/admin_api_access", "unsupported",
            "Only a registered client of one organization, with the grant type authorization_code, can have it.")
    }
}
