import FoundationEssentials

/// One block of a PEM file (RFC 7468).
struct PEMBlock {
    /// What stands between the dashes of the first line, such as `PRIVATE KEY`.
    let label: String
    let der: [UInt8]

    /// The one block of a file whose label is among `labels`; blocks with other labels are passed over, since
    /// `openssl ecparam -genkey` writes parameters before the key.
    ///
    /// Line ends may be LF or CRLF, or the two characters `\n` that environment files put in their place.
    /// - Throws: ``KeyError/malformed``, ``KeyError/encrypted``, or ``KeyError/unsupported`` when only other blocks exist.
    init(_ text: String, labels: Set<String>) throws(KeyError) {
        let lines = text.replacing(#"\n"#, with: "\n").split(whereSeparator: \.isNewline).map {
            String($0.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        }
        var found: [PEMBlock] = []
        var sawOther = false
        var rest = lines[...]
        while let start = rest.firstIndex(where: { $0.hasPrefix("-----BEGIN ") && $0.hasSuffix("-----") }) {
            let label = String(rest[start].dropFirst(11).dropLast(5))
            let body = rest[(start + 1)...]
            guard let end = body.firstIndex(of: "-----END \(label)-----") else { throw .malformed }
            rest = body[(end + 1)...]
            let content = body[..<end]
            guard label != "ENCRYPTED PRIVATE KEY", !content.contains(where: { $0.contains("ENCRYPTED") }) else {
                throw .encrypted
            }
            guard labels.contains(label) else {
                sawOther = true
                continue
            }
            guard let der = Data(base64Encoded: content.joined()), !der.isEmpty else { throw .malformed }
            found.append(PEMBlock(label: label, der: [UInt8](der)))
        }
        guard found.count == 1 else { throw found.isEmpty && sawOther ? .unsupported : .malformed }
        self = found[0]
    }

    private init(label: String, der: [UInt8]) {
        self.label = label
        self.der = der
    }

    /// The text form, in lines of 64 characters, ending with a line end.
    static func encode(label: String, der: [UInt8]) -> String {
        let base64 = Array(Data(der).base64EncodedString().utf8)
        var text = "-----BEGIN \(label)-----\n"
        for start in stride(from: 0, to: base64.count, by: 64) {
            text += String(decoding: base64[start..<min(start + 64, base64.count)], as: UTF8.self) + "\n"
        }
        return text + "-----END \(label)-----\n"
    }
}

/// Just enough DER (X.690 §8) to tell which algorithm a PKCS#8 or SPKI document is for; the libraries parse the rest.
struct DERReader {
    static let sequence: UInt8 = 0x30
    static let integer: UInt8 = 0x02
    static let objectIdentifier: UInt8 = 0x06

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    var isAtEnd: Bool { rest.isEmpty }

    /// The content of the next element, which must have this tag and a definite length that fits.
    mutating func read(_ tag: UInt8) -> ArraySlice<UInt8>? {
        guard rest.count >= 2, rest.removeFirst() == tag, let first = rest.popFirst() else { return nil }
        var length = Int(first)
        if first >= 0x80 {
            let octets = Int(first & 0x7F)
            guard (1...3).contains(octets), rest.count >= octets else { return nil }
            length = rest.prefix(octets).reduce(0) { $0 << 8 | Int($1) }
            rest = rest.dropFirst(octets)
        }
        guard rest.count >= length else { return nil }
        defer { rest = rest.dropFirst(length) }
        return rest.prefix(length)
    }
}

/// The key algorithms we recognise inside PKCS#8 (RFC 5208) and SPKI (RFC 5280 §4.1) documents.
enum KeyAlgorithmIdentifier {
    /// rsaEncryption, 1.2.840.113549.1.1.1. The identifier of RSA-PSS keys is another one, and is refused.
    case rsa
    /// id-ecPublicKey, 1.2.840.10045.2.1; the curve is checked by the library that reads the key.
    case ec
    /// id-Ed25519, 1.3.101.112 (RFC 8410 §3).
    case ed25519

    /// Reads `SEQUENCE { [version INTEGER,] SEQUENCE { OBJECT IDENTIFIER …` and refuses anything behind the document.
    init(of der: [UInt8], isPrivate: Bool) throws(KeyError) {
        var outer = DERReader(der[...])
        guard let document = outer.read(DERReader.sequence), outer.isAtEnd else { throw .malformed }
        var body = DERReader(document)
        if isPrivate {
            guard body.read(DERReader.integer) != nil else { throw .malformed }
        }
        guard let identifier = body.read(DERReader.sequence) else { throw .malformed }
        var fields = DERReader(identifier)
        guard let object = fields.read(DERReader.objectIdentifier) else { throw .malformed }
        switch [UInt8](object) {
        case [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01]: self = .rsa
        case [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01]: self = .ec
        case [0x2B, 0x65, 0x70]: self = .ed25519
        default: throw .unsupported
        }
    }
}
