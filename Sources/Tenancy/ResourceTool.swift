package import Foundation
import Keys

/// A tool of a protected resource, as its MCP server describes it (MCP 2025-06-18, server/tools) and as somebody reviewed it.
package struct ResourceTool: Sendable, Equatable {
    package enum State: String, Sendable, CaseIterable {
        /// Its definition is the one that was looked at. No other tool may be called.
        case reviewed
        /// Nobody looked at it yet.
        case new
        /// It says something else than when somebody looked at it.
        case changed
        /// The server has it no more.
        case gone
    }

    package let name: String
    /// A call of it needs all of them.
    package var scopes: [String]
    /// Its title, description, schemas and annotations, as JSON.
    package var definition: [UInt8]
    /// Of ``definition`` and ``name``: another value is another definition.
    package var digest: [UInt8]
    package var reviewedDigest: [UInt8]?
    /// The last import found it.
    package var isPresent: Bool
    package let createdAt: Date
    package var updatedAt: Date

    package init(
        name: String, scopes: [String], definition: [UInt8], digest: [UInt8], reviewedDigest: [UInt8]?,
        isPresent: Bool, createdAt: Date, updatedAt: Date
    ) {
        self.name = name
        self.scopes = scopes
        self.definition = definition
        self.digest = digest
        self.reviewedDigest = reviewedDigest
        self.isPresent = isPresent
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    package var state: State {
        if !isPresent { return .gone }
        guard let reviewedDigest else { return .new }
        return reviewedDigest == digest ? .reviewed : .changed
    }
}
