import Mustache

/// A text that a page shows: the only kind of text a template is ever given.
///
/// The template engine escapes character by character, and a character is a whole grapheme cluster: a `"` that carries an
/// accent is a different character to it and passes unescaped, while a browser sees the bare `"` and ends the attribute.
/// So every cluster that holds one of the five characters of HTML is reduced to them, which loses nothing anybody can
/// read. Control characters go too, and so do marks that override the direction of the text behind them.
struct PageText: MustacheCustomRenderable, ExpressibleByStringInterpolation, Sendable, Equatable {
    let renderText: String

    var isNull: Bool { false }

    init(_ text: String) {
        var safe = ""
        safe.reserveCapacity(text.utf8.count)
        for character in text {
            let special = character.unicodeScalars.filter { Self.markup.contains($0) }
            if special.isEmpty || character.unicodeScalars.count == 1 {
                safe.unicodeScalars.append(contentsOf: character.unicodeScalars.lazy.filter(Self.isShown))
            } else {
                safe.unicodeScalars.append(contentsOf: special)
            }
        }
        // Dropping scalars may have made neighbours of others; one more look decides.
        let clean = safe.allSatisfy {
            $0.unicodeScalars.count == 1 || !$0.unicodeScalars.contains(where: Self.markup.contains)
        }
        renderText = clean ? safe : String(String.UnicodeScalarView(safe.unicodeScalars.filter(\.isASCII)))
    }

    init(stringLiteral value: String) {
        self.init(value)
    }

    private static let markup: Set<Unicode.Scalar> = ["<", ">", "&", "\"", "'"]

    /// Everything but control characters, and the marks that override the direction of what follows.
    private static func isShown(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0, 0x202A...0x202E, 0x2066...0x2069: false
        default: true
        }
    }
}
