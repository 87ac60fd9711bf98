package import Postgres

/// Refuses to serve as anybody whom row-level security does not bind.
package enum ServingRole {
    /// Why a connection must not be used.
    package struct Wrong: Error, CustomStringConvertible {
        let found: String
        let wanted: String

        package var description: String {
            "connected to PostgreSQL as \(found), but this must be \(wanted): a role that is neither superuser, owner nor "
                + "BYPASSRLS (gatehouse migrate --create-roles makes it)"
        }
    }

    /// - Throws: ``Wrong``; `PostgresError` when the database cannot be asked.
    package static func check(_ lane: PostgresReadLane, is role: DatabaseRole) async throws {
        let rows = try await lane.query(
            settings: [],
            """
            SELECT r.rolname, r.rolsuper OR r.rolbypassrls
                   OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relnamespace = 'public'::regnamespace)
                   AS unbound
              FROM pg_roles r WHERE r.rolname = current_user
            """)
        let name = try rows.first?.decode("rolname", as: String.self) ?? "an unknown role"
        guard name == role.rawValue, try rows.first?.decode("unbound", as: Bool.self) == false else {
            throw Wrong(found: name, wanted: role.rawValue)
        }
    }
}
