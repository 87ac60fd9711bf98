import COpenSSL

/// An RSA key pair held by OpenSSL, which signs about twice as fast as the RSA of swift-crypto.
///
/// Accepted: plain RSA (not RSA-PSS) with a modulus of 2048…8192 bits; the exponent is checked by ``VerificationKey``.
///
/// `@unchecked Sendable` holds because nothing changes after `init`: `key` is a constant, freed only by `deinit`, when no
/// other reference exists. OpenSSL 3 allows any number of threads to use one unchanging `EVP_PKEY` (openssl-threads(7)):
/// its reference count is atomic, and the state that RSA fills in lazily (Montgomery contexts, blinding, the provider's
/// copy of the key) is guarded by locks inside the library. What is *not* shareable is an operation's context, and
/// `sign` makes its own `EVP_MD_CTX`, with the `EVP_PKEY_CTX` inside it, for every call.
final class RSAPrivateKey: @unchecked Sendable {
    private static let allowedBits = 2048...8192

    private let key: OpaquePointer
    private let signatureLength: Int

    /// Takes ownership of `key`.
    private init(owning key: OpaquePointer) throws(KeyError) {
        self.key = key
        signatureLength = Int(EVP_PKEY_get_size(key))
        guard EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA else { throw .unsupported }
        guard RSAPrivateKey.allowedBits.contains(Int(EVP_PKEY_get_bits(key))) else { throw .weak }
    }

    deinit {
        EVP_PKEY_free(key)
    }

    /// A new pair with exponent 65537. Takes tens to hundreds of milliseconds of CPU.
    static func generate(bits: Int) throws(KeyError) -> RSAPrivateKey {
        guard allowedBits.contains(bits) else { throw .weak }
        guard let key = gatehouse_rsa_generate(UInt32(bits)) else { throw failed(.generationFailed) }
        return try RSAPrivateKey(owning: key)
    }

    /// Reads an unencrypted PKCS#8 document (RFC 5208).
    convenience init(pkcs8 der: [UInt8]) throws(KeyError) {
        let key = der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            var cursor = bytes.baseAddress
            guard let document = d2i_PKCS8_PRIV_KEY_INFO(nil, &cursor, bytes.count) else { return nil }
            defer { PKCS8_PRIV_KEY_INFO_free(document) }
            return EVP_PKCS82PKEY(document)
        }
        guard let key else { throw RSAPrivateKey.failed(.malformed) }
        try self.init(owning: key)
    }

    /// Reads a PKCS#1 `RSAPrivateKey` (RFC 8017 A.1.2).
    convenience init(pkcs1 der: [UInt8]) throws(KeyError) {
        let key = der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            var cursor = bytes.baseAddress
            return d2i_PrivateKey(EVP_PKEY_RSA, nil, &cursor, bytes.count)
        }
        guard let key else { throw RSAPrivateKey.failed(.malformed) }
        try self.init(owning: key)
    }

    /// Checks everything about the pair, including that its factors are prime. Slow; for keys that come from outside.
    func checkThoroughly() throws(KeyError) {
        guard let context = EVP_PKEY_CTX_new(key, nil) else { throw RSAPrivateKey.failed(.inconsistent) }
        defer { EVP_PKEY_CTX_free(context) }
        guard EVP_PKEY_check(context) == 1 else { throw RSAPrivateKey.failed(.inconsistent) }
    }

    /// The pair as an unencrypted PKCS#8 document.
    func pkcs8() throws(KeyError) -> [UInt8] {
        guard let document = EVP_PKEY2PKCS8(key) else { throw RSAPrivateKey.failed(.malformed) }
        defer { PKCS8_PRIV_KEY_INFO_free(document) }
        let length = Int(i2d_PKCS8_PRIV_KEY_INFO(document, nil))
        guard length > 0 else { throw RSAPrivateKey.failed(.malformed) }
        return [UInt8](unsafeUninitializedCapacity: length) { target, written in
            // The function moves the pointer it is given, so it gets one of its own.
            var cursor = target.baseAddress
            written = max(0, Int(i2d_PKCS8_PRIV_KEY_INFO(document, &cursor)))
        }
    }

    /// Modulus and public exponent, big-endian without leading zeros.
    func publicMembers() throws(KeyError) -> (modulus: [UInt8], exponent: [UInt8]) {
        guard let modulus = number(OSSL_PKEY_PARAM_RSA_N), let exponent = number(OSSL_PKEY_PARAM_RSA_E) else {
            throw RSAPrivateKey.failed(.malformed)
        }
        return (modulus, exponent)
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over `message` (RFC 8017 §8.2.1).
    func sign(_ message: [UInt8]) throws(KeyError) -> [UInt8] {
        guard let context = EVP_MD_CTX_new() else { throw RSAPrivateKey.failed(.signingFailed) }
        defer { EVP_MD_CTX_free(context) }
        // PKCS#1 v1.5 is the padding an RSA key signs with unless told otherwise.
        guard EVP_DigestSignInit(context, nil, EVP_sha256(), nil, key) == 1 else {
            throw RSAPrivateKey.failed(.signingFailed)
        }
        let signature = [UInt8](unsafeUninitializedCapacity: signatureLength) { target, written in
            var length = signatureLength
            let succeeded = EVP_DigestSign(context, target.baseAddress, &length, message, message.count) == 1
            written = succeeded ? length : 0
        }
        guard signature.count == signatureLength else { throw RSAPrivateKey.failed(.signingFailed) }
        return signature
    }

    private func number(_ name: String) -> [UInt8]? {
        var number: OpaquePointer?
        guard EVP_PKEY_get_bn_param(key, name, &number) == 1, let number else { return nil }
        defer { BN_clear_free(number) }
        let length = (Int(BN_num_bits(number)) + 7) / 8
        return [UInt8](unsafeUninitializedCapacity: length) { target, written in
            written = Int(BN_bn2bin(number, target.baseAddress))
        }
    }

    /// Empties this thread's queue of OpenSSL errors, so that no later call reports them as its own.
    private static func failed(_ error: KeyError) -> KeyError {
        ERR_clear_error()
        return error
    }
}
