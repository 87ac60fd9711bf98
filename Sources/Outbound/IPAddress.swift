/// An IPv4 (4 bytes) or IPv6 (16 bytes) address in network order.
package struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    package let bytes: [UInt8]

    /// - Precondition: `bytes` has 4 or 16 elements.
    package init(bytes: [UInt8]) {
        precondition(bytes.count == 4 || bytes.count == 16, "an address has 4 or 16 bytes")
        self.bytes = bytes
    }

    /// Reads exactly four decimal numbers without leading zeros, or the text form of IPv6 (RFC 4291 §2.2).
    ///
    /// Other spellings that some parsers take for addresses (`127.1`, `0x7f.1`, `0177.0.0.1`, `2130706433`) are `nil`.
    package init?(_ text: String) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let bytes = Self.version6(text) else { return nil }
            self.bytes = bytes
        } else {
            guard let bytes = Self.version4(text[...]) else { return nil }
            self.bytes = bytes
        }
    }

    package var description: String {
        if bytes.count == 4 { return bytes.map(String.init).joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2)
            .map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }

    /// 127.0.0.0/8 and ::1.
    package var isLoopback: Bool {
        bytes.count == 4 ? bytes[0] == 127 : bytes == [UInt8](repeating: 0, count: 15) + [1]
    }

    /// Whether the address is anything but a globally reachable unicast address (RFC 6890 and IANA's registries).
    ///
    /// Of IPv6 only 2000::/3 and NAT64 (64:ff9b::/96, RFC 6052) of a public IPv4 address pass: mapped, compatible and
    /// translated IPv4, 6to4 and Teredo are refused whatever they carry.
    package var isSpecialUse: Bool {
        if bytes.count == 4 { return IPNetwork.special4.contains { $0.contains(self) } }
        if IPNetwork.nat64.contains(self) { return IPAddress(bytes: Array(bytes[12...])).isSpecialUse }
        return !IPNetwork.globalUnicast6.contains(self) || IPNetwork.special6.contains { $0.contains(self) }
    }

    private static func version4(_ text: Substring) -> [UInt8]? {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            guard (1...3).contains(part.count), part.allSatisfy({ (0x30...0x39).contains($0) }),
                part.count == 1 || part.first != 0x30, let byte = UInt8(String(Substring(part)))
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    private static func version6(_ text: String) -> [UInt8]? {
        func groups(_ text: Substring, mayEndInVersion4: Bool) -> [UInt8]? {
            if text.isEmpty { return [] }
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            var bytes: [UInt8] = []
            for (index, part) in parts.enumerated() {
                if part.contains(".") {
                    guard mayEndInVersion4, index == parts.count - 1, let tail = version4(part) else { return nil }
                    bytes += tail
                } else {
                    guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy(\.isHexDigit),
                        let group = UInt16(part, radix: 16)
                    else { return nil }
                    bytes += [UInt8(group >> 8), UInt8(group & 255)]
                }
            }
            return bytes
        }
        guard let gap = text.firstRange(of: "::") else {
            guard let bytes = groups(text[...], mayEndInVersion4: true), bytes.count == 16 else { return nil }
            return bytes
        }
        guard let head = groups(text[..<gap.lowerBound], mayEndInVersion4: false),
            let tail = groups(text[gap.upperBound...], mayEndInVersion4: true), head.count + tail.count <= 14
        else { return nil }
        return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
    }
}

/// A block of addresses, `address/length`.
package struct IPNetwork: Sendable, Hashable {
    package let base: IPAddress
    package let length: Int

    /// Reads CIDR notation; `nil` for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let base = IPAddress(String(parts[0])), let length = Int(parts[1]),
            (0...base.bytes.count * 8).contains(length)
        else { return nil }
        self.init(base: base, length: length)
    }

    private init(base: IPAddress, length: Int) {
        self.base = base
        self.length = length
    }

    /// A block whose leading bytes are given, the rest being zero.
    private static func of(_ leading: [UInt8], _ length: Int, size: Int) -> IPNetwork {
        IPNetwork(base: IPAddress(bytes: leading + [UInt8](repeating: 0, count: size - leading.count)), length: length)
    }

    package func contains(_ address: IPAddress) -> Bool {
        guard address.bytes.count == base.bytes.count else { return false }
        let whole = length / 8
        guard address.bytes[..<whole] == base.bytes[..<whole] else { return false }
        let rest = length % 8
        return rest == 0 || (address.bytes[whole] ^ base.bytes[whole]) >> (8 - rest) == 0
    }

    /// IANA's IPv4 special-purpose registry, multicast, and the reserved 240.0.0.0/4.
    fileprivate static let special4: [IPNetwork] = [
        of([0], 8, size: 4),  // this network
        of([10], 8, size: 4),  // private use (RFC 1918)
        of([100, 64], 10, size: 4),  // shared between carriers (RFC 6598)
        of([127], 8, size: 4),  // loopback
        of([169, 254], 16, size: 4),  // link-local, cloud metadata services
        of([172, 16], 12, size: 4),  // private use
        of([192, 0, 0], 24, size: 4),  // protocol assignments
        of([192, 0, 2], 24, size: 4),  // documentation
        of([192, 31, 196], 24, size: 4),  // AS112
        of([192, 52, 193], 24, size: 4),  // AMT
        of([192, 88, 99], 24, size: 4),  // 6to4 relays
        of([192, 168], 16, size: 4),  // private use
        of([192, 175, 48], 24, size: 4),  // AS112
        of([198, 18], 15, size: 4),  // benchmarking
        of([198, 51, 100], 24, size: 4),  // documentation
        of([203, 0, 113], 24, size: 4),  // documentation
        of([224], 4, size: 4),  // multicast
        of([240], 4, size: 4),  // reserved, limited broadcast
    ]

    /// 2000::/3, the only space from which global unicast addresses are given out.
    fileprivate static let globalUnicast6 = of([0x20], 3, size: 16)
    /// The well-known prefix of NAT64 (RFC 6052 §2.1).
    fileprivate static let nat64 = of([0, 0x64, 0xff, 0x9b], 96, size: 16)
    /// The special-purpose blocks inside 2000::/3.
    fileprivate static let special6: [IPNetwork] = [
        of([0x20, 0x01, 0x00], 23, size: 16),  // protocol assignments: Teredo, ORCHID, benchmarking
        of([0x20, 0x01, 0x0d, 0xb8], 32, size: 16),  // documentation
        of([0x20, 0x02], 16, size: 16),  // 6to4
        of([0x26, 0x20, 0x00, 0x4f, 0x80, 0x00], 48, size: 16),  // AS112
        of([0x3f, 0xff, 0x00], 20, size: 16),  // documentation
    ]
}

extension UInt8 {
    var isHexDigit: Bool {
        (0x30...0x39).contains(self) || (0x41...0x46).contains(self) || (0x61...0x66).contains(self)
    }
}
