import Foundation
package import Keys
package import Postgres

extension Row {
    /// An identifier column.
    package func id<Kind>(_ column: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) throws
        -> Identifier<Kind>
    {
        Identifier(try decode(column, as: UUID.self))
    }

    /// A column of identifiers of one kind.
    package func ids<Kind>(_ column: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) throws
        -> [Identifier<Kind>]
    {
        try decode(column, as: [UUID].self).map { Identifier($0) }
    }

    /// A column of a closed set of words.
    package func word<Word: RawRepresentable>(_ column: String, of type: Word.Type = Word.self) throws -> Word
    where Word.RawValue == String {
        guard let word = Word(rawValue: try decode(column, as: String.self)) else {
            throw UnreadableColumn(name: column)
        }
        return word
    }

    /// A nullable column that holds the digest of a secret.
    package func digest(_ column: String) throws -> SecretDigest? {
        guard let bytes = try decode(column, as: [UInt8]?.self) else { return nil }
        guard let digest = SecretDigest(stored: bytes) else { throw UnreadableColumn(name: column) }
        return digest
    }

    /// A column that holds the digest of a secret.
    package func requiredDigest(_ column: String) throws -> SecretDigest {
        guard let digest = try digest(column) else { throw UnreadableColumn(name: column) }
        return digest
    }
}

/// A stored value that this version of the program cannot read.
package struct UnreadableColumn: Error, CustomStringConvertible {
    package let name: String

    package var description: String { "column \(name) holds a value this version cannot read" }
}
