/// The public keys that somebody else publishes (RFC 7517 §5), as far as we can use them.
///
/// Keys of kinds and algorithms that we do not know are left out ("implementations SHOULD ignore JWKs within a JWK Set
/// that use 'kty' values that are not understood"), and so are weak ones and those for encryption.
package struct JWKSet: Sendable, Hashable {
    package struct Key: Sendable, Hashable {
        /// `kid`; nil if the publisher gave none.
        package let id: String?
        package let key: VerificationKey
    }

    /// Why a set was refused as a whole.
    package enum Problem: Error, Hashable, Sendable {
        case malformed
        /// A member that only the holder of the key may know: whoever published it has no secret any more.
        case privateKey
        case tooMany
    }

    /// More keys than anybody needs to rotate; each may have to be tried.
    private static let most = 32
    private static let privateMembers: Set<String> = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]

    package let keys: [Key]

    /// - Throws: ``Problem``.
    package init(_ value: JSONValue) throws(Problem) {
        guard case .array(let elements)? = value.object?["keys"] else { throw .malformed }
        guard elements.count <= Self.most else { throw .tooMany }
        var keys: [Key] = []
        for element in elements {
            guard let members = element.object else { throw .malformed }
            guard Self.privateMembers.isDisjoint(with: members.keys) else { throw .privateKey }
            if case .array(let uses)? = members["key_ops"], !uses.contains(.string("verify")) { continue }
            guard let key = try? VerificationKey(jwk: members.compactMapValues(\.string)) else { continue }
            keys.append(Key(id: members["kid"]?.string, key: key))
        }
        self.keys = keys
    }

    /// - Throws: ``Problem``.
    package init(bytes: [UInt8]) throws(Problem) {
        guard let value = try? JSONText.parse(bytes) else { throw .malformed }
        try self.init(value)
    }

    /// Whether one of these keys made the signature: those of the named `kid` and those without any, and of them only keys of
    /// the algorithm that the header names.
    package func signed(_ jws: CompactJWS) -> Bool {
        keys.contains { entry in
            (jws.keyID == nil || entry.id == nil || entry.id == jws.keyID) && jws.isSigned(by: entry.key, form: .any)
        }
    }

    /// The set with nothing but public members, `alg`, `use` and `kid`: what is stored and shown.
    package var json: [UInt8] {
        JSONWriter.object(capacity: 512) { json in json.raws("keys", keys.map { $0.key.jwk(keyID: $0.id) }) }
    }

    /// RFC 7638 thumbprints in one order, whatever order the publisher gave.
    package var thumbprints: [String] { Set(keys.map(\.key.thumbprint)).sorted() }
}
