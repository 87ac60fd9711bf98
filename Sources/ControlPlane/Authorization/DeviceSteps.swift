package import Audit
package import Foundation
import Keys
import Tenancy

extension AuthorizationFlow {
    /// `GET P/device`: asks for the code that a device shows (RFC 8628 §3.3).
    ///
    /// The code is never taken from the URL: whoever sends somebody a link must not be able to type it for them (§5.4).
    package func askUserCode(from browser: BrowserContext) -> AuthorizationReply {
        let binding = browser.boundValue ?? Base64URL.encode(random.generate(32))
        var reply = AuthorizationReply(.device(Self.devicePage(binding)))
        if browser.boundValue == nil { reply.setBinding = binding }
        return reply
    }

    /// `POST P/device`: begins the sign-in for the device whose code was typed.
    package func enterUserCode(
        _ typed: String?, csrfToken: String, from browser: BrowserContext, request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            guard let binding = browser.boundValue, ConstantTime.equal(Self.deviceToken(binding), csrfToken) else {
                try await refuse(
                    .deviceDenied, in: .platform, reason: "foreign_form", actor: .anonymous, client: nil, visit)
                throw Refusal.page(.expired)
            }
            return try await entered(typed ?? "", binding, visit)
        }
    }

    private func entered(_ typed: String, _ binding: String, _ visit: Visit) async throws -> AuthorizationReply {
        func again(_ problem: String) -> AuthorizationReply {
            AuthorizationReply(.device(Self.devicePage(binding, problem: problem)))
        }
        guard let code = UserCode(typed: typed) else {
            return again("Enter the eight letters that the device shows, such as WDJB-MJHT.")
        }
        guard await limits.mayEnterUserCode(from: visit.request.ip) else {
            try await refuse(
                .loginThrottled, in: .platform, reason: "too_many_user_codes", actor: .anonymous, client: nil, visit)
            return again("Too many codes were tried. Wait ten minutes and try again.")
        }
        let browser = Base64URL.encode(sha256(binding))
        guard let (tag, device) = try await devices.enter(code, in: browser, at: visit.now) else {
            try await refuse(
                .deviceDenied, in: .platform, reason: "user_code_unknown", actor: .anonymous, client: nil, visit)
            return again(
                "No device waits with this code. Check the letters; if they are right, start again on the device.")
        }
        let transaction = AuthorizationTransaction(
            issuer: device.issuer,
            asked: AuthorizationTransaction.ClientRequest(
                client: device.client, destination: .device(tag: tag, userCode: code.shown),
                resourceScopes: device.resourceScopes, openIDScopes: device.openIDScopes, resource: device.resource,
                resourceOwner: device.resourceOwner),
            organization: device.issuer, loginHint: nil, mustSignIn: false,
            csrfToken: Base64URL.encode(random.generate(32)), binding: browser, stage: .start, createdAt: visit.now)
        return AuthorizationReply(try await page(of: try await transactions.create(transaction), visit))
    }

    private static func devicePage(_ binding: String, problem: String? = nil) -> DevicePage {
        DevicePage(csrfToken: deviceToken(binding), problem: problem)
    }

    /// Nobody but this browser and we can know it: the binding cookie is out of reach of pages, ours included.
    private static func deviceToken(_ binding: String) -> String {
        Base64URL.encode(sha256("gatehouse device form|\(binding)"))
    }
}

extension BrowserContext {
    /// The binding cookie, if it is one that we made.
    var boundValue: String? {
        binding.flatMap { Base64URL.decode($0)?.count == 32 ? $0 : nil }
    }
}
