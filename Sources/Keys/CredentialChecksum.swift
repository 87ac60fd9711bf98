/// The last six characters of a credential such as `gh_…`: they find typing and copying errors, and secret scanners,
/// without a look at the database. They prove nothing about who made the credential.
///
/// Layout: the first 30 bits of SHA-256 of everything before them, as lower-case Crockford base32.
package enum CredentialChecksum {
    /// Characters a checksum has.
    package static let length = 6

    /// The checksum of a credential's body (prefix, id and secret).
    package static func checksum(of body: String) -> String {
        let digits: StaticString = "0123456789abcdefghjkmnpqrstvwxyz"
        let digest = sha256(body)
        let bits = digest.prefix(4).reduce(0 as UInt32) { $0 << 8 | UInt32($1) } >> 2
        return String(unsafeUninitializedCapacity: length) { target in
            for position in 0..<length {
                target[position] = digits.utf8Start[Int(bits >> UInt32(25 - 5 * position) & 0x1F)]
            }
            return length
        }
    }

    /// The body with its checksum behind it.
    package static func append(to body: String) -> String {
        body + checksum(of: body)
    }

    /// The body of a credential whose checksum is right, else nil.
    package static func body(of credential: String) -> String? {
        guard credential.utf8.count > length else { return nil }
        let body = String(decoding: credential.utf8.dropLast(length), as: UTF8.self)
        return ConstantTime.equal(append(to: body), credential) ? body : nil
    }
}
