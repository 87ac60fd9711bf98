/// A signed text in compact form: base64url(header) `.` base64url(payload) `.` base64url(signature) (RFC 7515 §7.1).
///
/// What ``parse(_:expecting:maximumBytes:)`` returns has the right form and nothing more: until ``isSigned(by:form:)`` is
/// true, header and payload are what some stranger wrote. They may be used to choose a key, never to make one:
/// `jwk`, `jku`, `x5c` and `x5u` are not looked at (RFC 8725 §3.10).
package struct CompactJWS: Sendable {
    /// Why a text was refused. Tells nothing of its content.
    package enum ParseError: Error, Hashable, Sendable {
        case tooLong
        /// Not three parts of canonical base64url, or the header is no JSON object with unique members.
        case malformed
        /// `alg` is absent or not among the expected ones (RFC 8725 §3.1).
        case unexpectedAlgorithm
        /// A `crit` member: we understand no extension, so each one must be refused (RFC 7515 §4.1.11).
        case criticalExtension
    }

    /// Bound on the text unless the caller names another: twice the largest token we make.
    package static let defaultMaximumBytes = 8192

    package let algorithm: SigningAlgorithm
    /// `kid` of the header; nil if absent. A hint: look it up among keys already chosen by issuer and audience.
    package let keyID: String?
    /// `typ` of the header as written; nil if absent.
    package let type: String?
    /// All members of the header.
    package let header: [String: JSONValue]
    package let payload: [UInt8]
    package let signature: [UInt8]
    /// The ASCII bytes the signature is over: the first two parts with the dot between them.
    package let signingInput: [UInt8]

    /// Reads the compact form strictly.
    ///
    /// - Parameter algorithms: what `alg` may be, which the caller knows from the key or the issuer, not from the token.
    /// - Throws: ``ParseError``.
    package static func parse(
        _ text: String, expecting algorithms: Set<SigningAlgorithm>, maximumBytes: Int = defaultMaximumBytes
    ) throws(ParseError) -> CompactJWS {
        guard text.utf8.count <= maximumBytes else { throw .tooLong }
        guard let parts = Parts(text), let value = try? JSONText.parse(parts.header), let header = value.object else {
            throw .malformed
        }
        guard header["crit"] == nil else { throw .criticalExtension }
        guard let algorithm = header["alg"]?.string.flatMap(SigningAlgorithm.init(rawValue:)),
            algorithms.contains(algorithm)
        else { throw .unexpectedAlgorithm }
        return CompactJWS(
            algorithm: algorithm, keyID: try string("kid", of: header), type: try string("typ", of: header),
            header: header, payload: parts.payload, signature: parts.signature, signingInput: parts.signingInput)
    }

    /// An optional header member that must be a string where it is present.
    private static func string(_ name: String, of header: [String: JSONValue]) throws(ParseError) -> String? {
        guard let value = header[name] else { return nil }
        guard let string = value.string else { throw .malformed }
        return string
    }

    /// Whether the key made this signature. A key of another algorithm than the header names never did, so that an RSA
    /// key can never be taken for something else (RFC 8725 §3.1).
    package func isSigned(by key: VerificationKey, form: VerificationKey.SignatureForm) -> Bool {
        key.algorithm == algorithm && key.isValid(signature, for: signingInput, form: form)
    }

    /// `typ` as a media type: lower case, without `application/`, which it may leave out (RFC 7515 §4.1.9).
    package var mediaType: String? {
        guard let type = type?.lowercased() else { return nil }
        return type.hasPrefix("application/") ? String(type.dropFirst("application/".count)) : type
    }

    /// The payload as a JSON object with unique members, or nil (RFC 7519 §4).
    package var claims: [String: JSONValue]? {
        (try? JSONText.parse(payload))?.object
    }

    /// Signs a payload under header bytes that are already base64url; ``JWSSigner`` prepares them.
    ///
    /// - Throws: ``KeyError/signingFailed``.
    package static func sign(
        header: [UInt8], payload: [UInt8], key: SigningKey
    ) throws(KeyError) -> String {
        var text: [UInt8] = []
        // Room for the longest signature in use, so that the text is never copied.
        text.reserveCapacity(header.count + payload.count * 4 / 3 + 700)
        text.append(contentsOf: header)
        text.append(UInt8(ascii: "."))
        Base64URL.append(payload, to: &text)
        let signature = try key.sign(text)
        text.append(UInt8(ascii: "."))
        Base64URL.append(signature, to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// The decoded parts of a compact form, and the undecoded input of its signature.
    private struct Parts {
        let header: [UInt8]
        let payload: [UInt8]
        let signature: [UInt8]
        let signingInput: [UInt8]

        /// Nil unless there are exactly three parts, in canonical base64url, with header and signature not empty.
        init?(_ text: String) {
            var text = text
            let parts = text.withUTF8 { utf8 -> Parts? in
                let dot = UInt8(ascii: ".")
                guard let first = utf8.firstIndex(of: dot), let last = utf8.lastIndex(of: dot), first < last else {
                    return nil
                }
                // A dot inside any part is no base64url character, so a fourth part cannot pass.
                guard let header = Base64URL.decode(UnsafeBufferPointer(rebasing: utf8[..<first])), !header.isEmpty,
                    let payload = Base64URL.decode(UnsafeBufferPointer(rebasing: utf8[(first + 1)..<last])),
                    let signature = Base64URL.decode(UnsafeBufferPointer(rebasing: utf8[(last + 1)...])),
                    !signature.isEmpty
                else { return nil }
                return Parts(
                    header: header, payload: payload, signature: signature, signingInput: [UInt8](utf8[..<last]))
            }
            guard let parts else { return nil }
            self = parts
        }

        private init(header: [UInt8], payload: [UInt8], signature: [UInt8], signingInput: [UInt8]) {
            self.header = header
            self.payload = payload
            self.signature = signature
            self.signingInput = signingInput
        }
    }
}

/// A signing key with the header of its tokens, encoded once: signing a token then costs the signature and two copies.
package struct JWSSigner: Sendable, Redacted {
    package let key: SigningKey
    private let header: [UInt8]

    /// - Parameters:
    ///   - keyID: `kid`, under which the public half is published.
    ///   - type: `typ`, such as `at+jwt` (RFC 9068 §2.1).
    package init(key: SigningKey, keyID: String, type: String) {
        self.key = key
        let json = JSONWriter.object { header in
            header.string("alg", key.algorithm.rawValue)
            header.string("kid", keyID)
            header.string("typ", type)
        }
        var encoded: [UInt8] = []
        Base64URL.append(json, to: &encoded)
        header = encoded
    }

    /// The compact form of a payload.
    ///
    /// - Throws: ``KeyError/signingFailed``.
    package func sign(_ payload: [UInt8]) throws(KeyError) -> String {
        try CompactJWS.sign(header: header, payload: payload, key: key)
    }
}
