package import Foundation

/// One page of a list by keyset: what comes after an id, in the order of ids.
package struct Page: Sendable {
    package let after: UUID?
    package let limit: Int

    package init(after: UUID? = nil, limit: Int) {
        self.after = after
        self.limit = limit
    }

    /// What every id of the page is greater than: a bound and no choice, since a plan made for any parameters reads a choice
    /// as a filter, and all rows before the page with it.
    package var start: UUID { after ?? UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)) }
}
