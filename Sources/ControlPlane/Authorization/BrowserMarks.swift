import Foundation
package import Keys
import Tenancy

/// What a browser keeps after a person signed in there, so that strangers who have codes sent to the same address do not
/// keep them out later. It signs nobody in and says nothing of who they are.
///
/// A mark is base64url of 16 random bytes ‖ seconds since 1970 (8 bytes, big-endian) ‖ the first 16 bytes of a tag over
/// these, the organization and the address. Nothing is stored, and every node knows the marks of all.
package struct BrowserMarks: Sendable {
    /// As long as browsers keep a cookie (RFC 6265bis §5.5).
    static let lifetime: Duration = .seconds(400 * 86_400)
    private static let size = 40

    private let key: AuthenticationKey

    package init(key: AuthenticationKey) {
        self.key = key
    }

    func mark(for email: String, in organization: OrganizationID, at now: Date, _ random: RandomBytes) -> String {
        let seconds = UInt64(now.timeIntervalSince1970)
        let body = random.generate(16) + (0..<8).map { UInt8(truncatingIfNeeded: seconds >> (56 - 8 * $0)) }
        return Base64URL.encode(body + tag(of: body, email, organization))
    }

    /// What tells one marked browser from another.
    ///
    /// - Returns: nil for what is no mark of ours, is another address's or organization's, or is over.
    func browser(markedBy mark: String, for email: String, in organization: OrganizationID, at now: Date) -> String? {
        guard mark.utf8.count <= 64, let bytes = Base64URL.decode(mark), bytes.count == Self.size else { return nil }
        let body = Array(bytes[..<24])
        guard ConstantTime.equal(tag(of: body, email, organization), Array(bytes[24...])) else { return nil }
        let age = now.timeIntervalSince1970 - Double(body[16...].reduce(0 as UInt64) { $0 << 8 | UInt64($1) })
        guard age <= Double(Self.lifetime.components.seconds) else { return nil }
        return Base64URL.encode(Array(body[..<16]))
    }

    private func tag(of body: [UInt8], _ email: String, _ organization: OrganizationID) -> [UInt8] {
        Array(key.tag(of: body + "\(organization)|\(email.lowercased())".utf8).prefix(16))
    }
}
