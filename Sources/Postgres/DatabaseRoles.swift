import Crypto
import Foundation
package import Logging

/// The three login roles of a database. None is a member of another; none may bypass row-level security.
package enum DatabaseRole: String, Sendable, CaseIterable {
    /// Owns the database and its tables; used by migrations only.
    case owner = "gatehouse_owner"
    /// Serves.
    case app = "gatehouse_app"
    /// Orders the audit log.
    case sequencer = "gatehouse_sequencer"

    /// Makes the roles that are missing, corrects those that differ, and gives the database of `conninfo` to the owner.
    ///
    /// Safe to repeat, and to run from several places at once. Passwords leave this process only as SCRAM-SHA-256
    /// verifiers (RFC 5803). Roles without one in `passwords` keep what they have; a new one can then only sign in
    /// where the server asks for no password.
    /// - Parameter conninfo: of a superuser.
    /// - Throws: ``PostgresError``.
    package static func create(
        conninfo: String, passwords: [DatabaseRole: String] = [:], logger: Logger
    ) async throws {
        var settings = PostgresSettings(conninfo: conninfo)
        settings.applicationName = "gatehouse roles"
        settings.pinnedConnections = 1
        settings.answerDeadline = .seconds(10)
        let pool = PostgresPool(settings: settings, logger: logger)
        pool.start()
        var attemptsLeft = 5
        var failure: (any Error)?
        repeat {
            attemptsLeft -= 1
            failure = nil
            do {
                try await pool.transaction { transaction in
                    for role in allCases { try await role.ensure(in: transaction, password: passwords[role]) }
                    try await removeMemberships(in: transaction)
                    try await giveDatabase(in: transaction)
                }
            } catch let error as PostgresError
                where ["42710", "23505", "XX000"].contains(error.sqlState) && attemptsLeft > 0
            {
                // Roles belong to the whole cluster: someone else was just making the same ones.
                failure = error
                try? await Task.sleep(for: .milliseconds(Int64.random(in: 20...100)))
            } catch {
                failure = error
                attemptsLeft = 0
            }
        } while failure != nil && attemptsLeft > 0
        await pool.shutdown(within: .zero)
        if let failure { throw failure }
    }

    private var name: SQL { .identifier(rawValue) }

    private func ensure(in transaction: PostgresTransaction, password: String?) async throws {
        let rows = try await transaction.query(
            """
            SELECT rolcanlogin
                   AND NOT (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication) AS fits,
                   rolpassword AS password
              FROM pg_authid WHERE rolname = \(rawValue)
            """)
        if let row = rows.first {
            if try !row.decode("fits", as: Bool.self) {
                try await transaction.execute(
                    "ALTER ROLE \(name) LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION")
            }
            let verifier = try row.decode("password", as: String?.self)
            if let password, !(verifier.map { ScramVerifier.matches($0, password) } ?? false) {
                try await setPassword(password, in: transaction)
            }
        } else {
            try await transaction.execute(
                "CREATE ROLE \(name) LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION")
            if let password { try await setPassword(password, in: transaction) }
        }
    }

    private func setPassword(_ password: String, in transaction: PostgresTransaction) async throws {
        // ALTER ROLE takes no parameters. A verifier is base64, `$`, `:` and digits: nothing in it can end the literal.
        let verifier = ScramVerifier.make(password)
        try await transaction.execute("ALTER ROLE \(name) PASSWORD '\(SQL(stringLiteral: verifier))'")
    }

    private static func removeMemberships(in transaction: PostgresTransaction) async throws {
        let names = allCases.map(\.rawValue)
        let rows = try await transaction.query(
            """
            SELECT granted.rolname AS granted, member.rolname AS member
              FROM pg_auth_members m
              JOIN pg_roles granted ON granted.oid = m.roleid JOIN pg_roles member ON member.oid = m.member
             WHERE member.rolname = ANY (\(names))
            """)
        for row in rows {
            let (granted, member): (String, String) = (try row.decode("granted"), try row.decode("member"))
            try await transaction.execute("REVOKE \(SQL.identifier(granted)) FROM \(SQL.identifier(member))")
        }
    }

    private static func giveDatabase(in transaction: PostgresTransaction) async throws {
        let rows = try await transaction.query(
            """
            SELECT current_database()::text AS name, pg_get_userbyid(datdba)::text AS owner
              FROM pg_database WHERE datname = current_database()
            """)
        guard let row = rows.first else { return }
        let database = SQL.identifier(try row.decode("name"))
        if try row.decode("owner", as: String.self) != owner.rawValue {
            try await transaction.execute("ALTER DATABASE \(database) OWNER TO \(owner.name)")
        }
        // The database's owner may create in schema public, through pg_database_owner; nobody else may.
        try await transaction.execute("REVOKE ALL ON DATABASE \(database) FROM PUBLIC")
        try await transaction.execute("GRANT CONNECT ON DATABASE \(database) TO \(app.name), \(sequencer.name)")
        try await transaction.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        try await transaction.execute("GRANT USAGE ON SCHEMA public TO \(app.name), \(sequencer.name)")
        try await transaction.execute("GRANT ALL ON SCHEMA public TO \(owner.name)")
    }
}

/// SCRAM-SHA-256 verifiers as PostgreSQL stores them: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (RFC 5802
/// §3, RFC 5803).
enum ScramVerifier {
    private static let iterations = 4_096

    static func make(_ password: String) -> String {
        var generator = SystemRandomNumberGenerator()
        let salt = (0..<16).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        return make(password, salt: salt, iterations: iterations)
    }

    static func matches(_ verifier: String, _ password: String) -> Bool {
        let parts = verifier.split(separator: "$")
        let parameters = parts.count == 3 ? parts[1].split(separator: ":") : []
        guard parts.first == "SCRAM-SHA-256", parameters.count == 2, let iterations = Int(parameters[0]),
            let salt = Data(base64Encoded: String(parameters[1]))
        else { return false }
        return make(password, salt: Array(salt), iterations: iterations) == verifier
    }

    private static func make(_ password: String, salt: [UInt8], iterations: Int) -> String {
        let key = SymmetricKey(data: Data(password.utf8))
        // PBKDF2 with one block: HMAC of the salt and block number 1, then of each result, all combined by exclusive
        // or.
        var block = Array(HMAC<SHA256>.authenticationCode(for: salt + [0, 0, 0, 1], using: key))
        var salted = block
        for _ in 1..<max(iterations, 2) {
            block = Array(HMAC<SHA256>.authenticationCode(for: block, using: key))
            for index in salted.indices { salted[index] ^= block[index] }
        }
        func derived(_ label: String) -> Data {
            Data(HMAC<SHA256>.authenticationCode(for: Data(label.utf8), using: SymmetricKey(data: Data(salted))))
        }
        let storedKey = Data(SHA256.hash(data: derived("Client Key")))
        return "SCRAM-SHA-256$\(iterations):\(Data(salt).base64EncodedString())"
            + "$\(storedKey.base64EncodedString()):\(derived("Server Key").base64EncodedString())"
    }
}
