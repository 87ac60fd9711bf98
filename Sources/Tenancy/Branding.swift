package import Foundation

/// How an organization's pages look to its people, as far as it decides that.
package struct Branding: Sendable, Equatable {
    /// Shown instead of the organization's name; its slug stands beside it.
    package var displayName: String?
    /// Of buttons and links on light pages, and on dark ones; nil: ours.
    package var accentLight: SRGBColor?
    package var accentDark: SRGBColor?
    package var logo: Logo?
    /// 0 until anything was decided.
    package let version: Int64
    package let updatedAt: Date?

    /// A picture, without its bytes.
    package struct Logo: Sendable, Equatable {
        /// The formats that browsers show and that hold no script.
        package enum Format: String, Sendable, CaseIterable {
            case png = "image/png"
            case jpeg = "image/jpeg"
            case webp = "image/webp"
        }

        package let format: Format
        package let size: Int
        /// SHA-256 of the bytes.
        package let digest: [UInt8]

        package init(format: Format, size: Int, digest: [UInt8]) {
            self.format = format
            self.size = size
            self.digest = digest
        }
    }

    package static let none = Branding(version: 0, updatedAt: nil)

    package init(
        displayName: String? = nil, accentLight: SRGBColor? = nil, accentDark: SRGBColor? = nil, logo: Logo? = nil,
        version: Int64, updatedAt: Date?
    ) {
        self.displayName = displayName
        self.accentLight = accentLight
        self.accentDark = accentDark
        self.logo = logo
        self.version = version
        self.updatedAt = updatedAt
    }

    package var isPlain: Bool { displayName == nil && accentLight == nil && accentDark == nil && logo == nil }
}

/// A colour as style sheets write it: `#rrggbb`.
package struct SRGBColor: Sendable, Equatable, CustomStringConvertible {
    package let red: UInt8
    package let green: UInt8
    package let blue: UInt8

    package init(red: UInt8, green: UInt8, blue: UInt8) {
        self.red = red
        self.green = green
        self.blue = blue
    }

    /// Six hexadecimal digits behind `#`, and nothing else.
    package init?(_ text: String) {
        let digits = text.utf8.dropFirst()
        guard text.utf8.first == UInt8(ascii: "#"), digits.count == 6,
            digits.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0 | 0x20) }),
            let value = UInt32(text.dropFirst(), radix: 16)
        else { return nil }
        self.init(
            red: UInt8(truncatingIfNeeded: value >> 16), green: UInt8(truncatingIfNeeded: value >> 8),
            blue: UInt8(truncatingIfNeeded: value))
    }

    package var description: String {
        "#" + [red, green, blue].map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined()
    }

    /// How far the two are apart for the eye, 1 to 21 (WCAG 2.2, contrast ratio).
    package func contrast(with other: SRGBColor) -> Double {
        let (one, two) = (luminance, other.luminance)
        return (max(one, two) + 0.05) / (min(one, two) + 0.05)
    }

    /// Part of the way to another colour.
    package func mixed(with other: SRGBColor, _ share: Double) -> SRGBColor {
        func mix(_ one: UInt8, _ two: UInt8) -> UInt8 {
            UInt8((Double(one) * (1 - share) + Double(two) * share).rounded())
        }
        return SRGBColor(red: mix(red, other.red), green: mix(green, other.green), blue: mix(blue, other.blue))
    }

    package static let white = SRGBColor(red: 255, green: 255, blue: 255)
    package static let black = SRGBColor(red: 0, green: 0, blue: 0)

    /// WCAG 2.2, relative luminance.
    private var luminance: Double {
        func linear(_ channel: UInt8) -> Double {
            let value = Double(channel) / 255
            return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)
        }
        return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }
}
