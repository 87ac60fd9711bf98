package import Foundation

/// One page of a list by keyset: what comes after an id, in the order of ids.
package struct Page: Sendable {
    package let after: UUID?
    package let limit: Int

    package init(after: UUID? = nil, limit: Int) {
        self.after = after
        self.limit = limit
    }
}
