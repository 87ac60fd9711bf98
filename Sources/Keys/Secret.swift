/// A value that never shows itself: not in string interpolation, logs, `dump`, mirrors or test failures.
package protocol Redacted: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {}

extension Redacted {
    package var description: String { "redacted" }
    package var debugDescription: String { "redacted" }
    package var customMirror: Mirror { Mirror(self, children: [] as [Mirror.Child]) }
}

/// A text that may be shown to its holder once and is otherwise kept out of sight.
///
/// Equality takes constant time. It is deliberately neither `Codable` nor a string literal.
package struct Secret: Sendable, Equatable, Redacted {
    /// The text itself. Every use of this name is a place where a secret leaves its wrapper.
    package let revealed: String

    package init(_ text: String) {
        revealed = text
    }

    /// A fresh secret: `prefix`, then 256 random bits as 43 characters of base64url.
    package static func random(prefix: String = "", from random: RandomBytes = .system) -> Secret {
        Secret(prefix + Base64URL.encode(random.generate(32)))
    }

    /// The UTF-8 bytes of the text.
    package var bytes: [UInt8] { [UInt8](revealed.utf8) }

    package static func == (left: Secret, right: Secret) -> Bool {
        ConstantTime.equal(left.revealed, right.revealed)
    }
}
