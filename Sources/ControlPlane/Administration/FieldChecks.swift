import Audit
import Foundation
import Identity
import Tenancy

/// Gathers everything that is wrong with a request, so that the caller hears it all at once.
struct FieldChecks {
    private(set) var errors: [FieldError] = []

    mutating func require(_ holds: Bool, _ pointer: String, _ code: String, _ detail: String) {
        if !holds { errors.append(FieldError(pointer, code, detail)) }
    }

    mutating func add(_ error: FieldError) {
        errors.append(error)
    }

    /// A name shown to people: 1 to 200 characters that cannot hide or reorder text.
    mutating func name(_ text: String, _ pointer: String) {
        let isBlank = text.allSatisfy(\.isWhitespace)
        require(
            !isBlank && text.unicodeScalars.count <= 200 && ClientName.isPlain(text), pointer, "invalid",
            "A name has 1 to 200 printable characters.")
    }

    /// - Returns: the address in the spelling that is stored.
    mutating func email(_ text: String, _ pointer: String) -> String {
        guard let address = EmailAddress(text) else {
            add(FieldError(pointer, "invalid", "This is not a plain e-mail address, such as name@example.com."))
            return text
        }
        return address.description
    }

    mutating func range(_ value: Int, _ allowed: ClosedRange<Int>, _ pointer: String) {
        require(
            allowed.contains(value), pointer, "out_of_range",
            "This must be from \(allowed.lowerBound) to \(allowed.upperBound).")
    }

    /// - Throws: ``AdminError/invalid(_:)`` with everything that was found; before that ``AdminError/exceedsMaker(_:)``, since
    ///   who tries to gain power is refused for that, and recorded.
    ///
    /// - Parameter base: where in the request the members are that were checked.
    func finish(at base: String = "") throws(AdminError) {
        let found = base.isEmpty ? errors : errors.map { FieldError(base + $0.pointer, $0.code, $0.detail) }
        let excesses = found.filter { $0.code == FieldError.exceedsMaker }
        if !excesses.isEmpty { throw .exceedsMaker(excesses) }
        if !found.isEmpty { throw .invalid(found) }
    }
}

/// What the log knows of a thing: member name to value.
typealias Facts = [String: AuditEvent.Value]

extension AuditEvent.Change {
    /// What differs between two states of a thing; an empty one stands for its absence.
    ///
    /// - Parameter personal: members that are personal data.
    static func between(_ old: Facts, _ new: Facts, personal: Set<String> = []) -> [AuditEvent.Change] {
        Set(old.keys).union(new.keys).sorted().compactMap { path in
            guard old[path] != new[path] else { return nil }
            return AuditEvent.Change(path: path, old: old[path], new: new[path], isPersonal: personal.contains(path))
        }
    }
}

extension AuditEvent.Value {
    static func texts(_ texts: some Sequence<String>) -> Self { .array(texts.map { .string($0) }) }
    static func time(_ time: Date?) -> Self? { time.map { .string(Timestamp.text($0)) } }
    static func text(_ text: String?) -> Self? { text.map { .string($0) } }
}
