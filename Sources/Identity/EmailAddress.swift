/// An e-mail address in the one spelling this room works with: no white space around it, its domain in lower case.
///
/// ASCII only. Unicode has letters that become ASCII letters when case is dropped (the Kelvin sign becomes `k`), and an
/// address that equals another only after such a step must never stand for its owner.
package struct EmailAddress: Sendable, Hashable, CustomStringConvertible {
    /// The longest there is (RFC 5321 §4.5.3.1.3).
    package static let longest = 254

    package let local: String
    package let domain: String

    /// - Returns: nil for what is not one plain address (RFC 5321 §4.1.2, without quoted local parts and address
    ///   literals).
    package init?(_ text: String) {
        let bytes = Array(text.utf8).trimmed()
        guard bytes.count <= Self.longest, let mark = bytes.firstIndex(of: UInt8(ascii: "@")) else { return nil }
        let local = bytes[..<mark]
        let labels = bytes[(mark + 1)...].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let atom = Set("!#$%&'*+-/=?^_`{|}~.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        guard (1...64).contains(local.count), local.allSatisfy(atom.contains), labels.count > 1 else { return nil }
        for label in labels {
            guard (1...63).contains(label.count), label.allSatisfy(Self.isHostCharacter),
                label.first != UInt8(ascii: "-"), label.last != UInt8(ascii: "-")
            else { return nil }
        }
        self.local = String(decoding: local, as: UTF8.self)
        domain = String(decoding: bytes[(mark + 1)...], as: UTF8.self).lowercased()
    }

    package var description: String { "\(local)@\(domain)" }

    /// Addresses are equal without regard to case, as providers and people treat them.
    package static func == (left: Self, right: Self) -> Bool {
        left.domain == right.domain && left.local.lowercased() == right.local.lowercased()
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(domain)
        hasher.combine(local.lowercased())
    }

    private static func isHostCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

extension [UInt8] {
    /// Without spaces, tabs and line ends at both ends.
    fileprivate func trimmed() -> ArraySlice<UInt8> {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) }) else {
            return []
        }
        return self[first...last]
    }
}
