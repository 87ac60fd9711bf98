package import Foundation
package import Postgres

private let columns: SQL = """
    id, organization_id, kind, status, total, done, outcomes, created_by, created_at, started_at, finished_at
    """

extension LongOperation {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), organization: try row.id("organization_id"), kind: try row.word("kind"),
            status: try row.word("status"), total: try row.decode("total"), done: try row.decode("done"),
            outcomes: try row.decodeJSON("outcomes"), createdBy: try row.decode("created_by"),
            createdAt: try row.decode("created_at"), startedAt: try row.decode("started_at"),
            finishedAt: try row.decode("finished_at"))
    }
}

extension OperationRow {
    fileprivate init(row: Row) throws {
        self.init(
            row: try row.decode("row"), outcome: try row.word("outcome"),
            user: try row.decode("user_id", as: UUID?.self).map { UserID($0) }, code: try row.decode("code"),
            pointer: try row.decode("pointer"), detail: try row.decode("detail"))
    }
}

/// Operations of one organization, their rows, and the queue of those that are not over.
///
/// Every step is a transaction that begins with ``hold(_:in:as:_:)``: as long as it runs no other node can have the
/// operation, and a node that lost it changes nothing.
package struct OperationStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    // MARK: For administrators

    package func find(_ operation: OperationID, in organization: OrganizationID) async throws -> LongOperation? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM operation WHERE organization_id = \(organization) AND id = \(operation)",
            as: LongOperation.init(row:)
        ).first
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [LongOperation] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM operation WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: LongOperation.init(row:))
    }

    /// The rows that are done, in the order of the body.
    package func rows(
        of operation: OperationID, after row: Int, limit: Int, outcome: OperationRow.Outcome?,
        in organization: OrganizationID
    ) async throws -> [OperationRow] {
        let wanted: SQL = outcome.map { "outcome = \($0.rawValue)" } ?? "outcome IS NOT NULL"
        return try await database.read(
            organization,
            """
            SELECT row, outcome, user_id, code, pointer, detail FROM operation_row
             WHERE organization_id = \(organization) AND operation_id = \(operation) AND row > \(row) AND \(wanted)
             ORDER BY row LIMIT \(limit)
            """, as: OperationRow.init(row:))
    }

    /// How many of a kind are not over.
    package func unfinished(
        _ kind: LongOperation.Kind, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Int {
        try await transaction.query(
            """
            SELECT count(*) AS count FROM operation
             WHERE organization_id = \(organization) AND kind = \(kind.rawValue) AND finished_at IS NULL
            """
        ).first?.decode("count", as: Int.self) ?? 0
    }

    /// Stores an operation and hands it to whichever node is free.
    ///
    /// - Parameters:
    ///   - input: what the work needs to know.
    ///   - request: the request that asked for it.
    ///   - seconds: how long nobody begins with it.
    package func insert(
        _ operation: LongOperation, input: some Encodable & Sendable, request: some Encodable & Sendable,
        after seconds: Int = 0, in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO operation (organization_id, id, kind, status, total, done, outcomes, input, created_by, request,
                                   created_at)
            VALUES (\(operation.organization), \(operation.id), \(operation.kind.rawValue),
                    \(operation.status.rawValue), \(operation.total), \(operation.done), \(json: operation.outcomes),
                    \(json: input), \(operation.createdBy), \(json: request), \(operation.createdAt))
            """)
        try await transaction.query("SELECT enqueue_operation(\(operation.id), \(Int32(seconds)))")
    }

    /// A row as it is stored at first: to be done, or wrong by itself.
    package struct NewRow: Sendable, Encodable {
        let row: Int
        let input: Person?
        let outcome: String?
        let code: String?
        let pointer: String?
        let detail: String?

        package init(_ row: Int, _ person: Person) {
            self.row = row
            input = person
            (outcome, code, pointer, detail) = (nil, nil, nil, nil)
        }

        package init(failed row: OperationRow) {
            self.row = row.row
            input = nil
            outcome = row.outcome.rawValue
            (code, pointer, detail) = (row.code, row.pointer, row.detail)
        }
    }

    /// What an import says of one person.
    package struct Person: Sendable, Codable, Equatable {
        package let email: String
        /// nil: nothing is said of it.
        package let name: String?
        // Nil where there are none, as in what earlier releases stored.
        private let groupIDs: [UUID]?
        private let roleIDs: [UUID]?

        /// What they get besides what they have.
        package var groups: [GroupID] { groupIDs?.map { GroupID($0) } ?? [] }
        package var roles: [RoleID] { roleIDs?.map { RoleID($0) } ?? [] }

        package init(email: String, name: String?, groups: [GroupID], roles: [RoleID]) {
            self.email = email
            self.name = name
            groupIDs = groups.isEmpty ? nil : groups.map(\.uuid)
            roleIDs = roles.isEmpty ? nil : roles.map(\.uuid)
        }
    }

    private static let rowsOfOneStatement = 1_000

    package func insert(
        _ rows: [NewRow], of operation: LongOperation, in transaction: PostgresTransaction
    ) async throws {
        for start in stride(from: 0, to: rows.count, by: Self.rowsOfOneStatement) {
            let chunk = Array(rows[start..<min(start + Self.rowsOfOneStatement, rows.count)])
            try await transaction.query(
                """
                INSERT INTO operation_row (organization_id, operation_id, row, input, outcome, code, pointer, detail)
                SELECT \(operation.organization), \(operation.id), r.row, r.input, r.outcome, r.code, r.pointer, r.detail
                  FROM jsonb_to_recordset(\(json: chunk)) AS r (row bigint, input jsonb, outcome text, code text,
                                                                pointer text, detail text)
                """)
        }
    }

    /// Forgets operations that ended before a moment.
    package func deleteOver(in organization: OrganizationID, before moment: Date) async throws {
        try await database.transaction(organization) { transaction in
            _ = try await transaction.query(
                "DELETE FROM operation WHERE organization_id = \(organization) AND finished_at < \(moment)")
        }
    }

    // MARK: For the node that works

    /// How long a node has an operation after each step.
    private static let lease = 5

    /// Whether some operation of any organization waits for a node.
    package func isDue() async throws -> Bool {
        try await database.read(.platform, "SELECT operation_is_due() AS due") { try $0.decode("due", as: Bool.self) }
            .first ?? false
    }

    /// Takes the operation that waited longest.
    ///
    /// - Parameter holder: proves at every step that the operation was not taken away since.
    package func lease(as holder: UUID) async throws -> (organization: OrganizationID, id: OperationID)? {
        try await database.transaction(.platform) { transaction in
            try await transaction.query(
                "SELECT organization_id, operation_id FROM lease_operation(\(holder), \(Int32(Self.lease)))"
            ).map {
                (
                    organization: try $0.id("organization_id", of: OrganizationID.self),
                    id: try $0.id("operation_id", of: OperationID.self)
                )
            }.first
        }
    }

    /// What a step begins with.
    package struct Work: Sendable {
        package let operation: LongOperation
        private let row: Row

        fileprivate init(row: Row) throws {
            operation = try LongOperation(row: row)
            self.row = row
        }

        package func input<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
            try row.decodeJSON("input")
        }

        package func request<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
            try row.decodeJSON("request")
        }
    }

    /// Keeps an operation from every other node until the transaction ends, and for some seconds more.
    ///
    /// - Returns: nil when another node has it by now, or it is over.
    package func hold(
        _ operation: OperationID, in organization: OrganizationID, as holder: UUID, _ transaction: PostgresTransaction
    ) async throws -> Work? {
        let isHeld = try await transaction.query(
            "SELECT hold_operation(\(operation), \(holder), \(Int32(Self.lease))) AS held"
        ).first?.decode("held", as: Bool.self)
        guard isHeld == true else { return nil }
        let work = try await transaction.query(
            """
            SELECT \(columns), input, request FROM operation
             WHERE organization_id = \(organization) AND id = \(operation) FOR UPDATE
            """
        ).map(Work.init(row:)).first
        guard let work, !work.operation.isOver else {
            try await transaction.query("SELECT end_operation(\(operation))")
            return nil
        }
        return work
    }

    /// Lets other operations go first: whichever node is free goes on with it later.
    package func yield(_ operation: OperationID, in organization: OrganizationID, as holder: UUID) async throws {
        try await database.transaction(organization) { transaction in
            _ = try await transaction.query("SELECT hold_operation(\(operation), \(holder), 0)")
        }
    }

    /// Rows that are not done yet.
    package func pending(
        of operation: LongOperation, limit: Int, _ transaction: PostgresTransaction
    ) async throws -> [(row: Int, person: Person)] {
        try await transaction.query(
            """
            SELECT row, input FROM operation_row WHERE organization_id = \(operation.organization)
               AND operation_id = \(operation.id) AND outcome IS NULL ORDER BY row LIMIT \(limit)
            """
        ).map { (row: try $0.decode("row"), person: try $0.decodeJSON("input")) }
    }

    /// Writes what became of rows, and forgets what they said.
    package func record(
        _ rows: [OperationRow], of operation: LongOperation, _ transaction: PostgresTransaction
    ) async throws {
        struct Stored: Encodable {
            let row: Int
            let outcome: String
            let user_id: UUID?
            let code: String?
            let detail: String?
        }
        let stored = rows.map {
            Stored(row: $0.row, outcome: $0.outcome.rawValue, user_id: $0.user?.uuid, code: $0.code, detail: $0.detail)
        }
        try await transaction.query(
            """
            UPDATE operation_row o SET outcome = r.outcome, user_id = r.user_id, code = r.code, detail = r.detail,
                   input = NULL
              FROM jsonb_to_recordset(\(json: stored)) AS r (row bigint, outcome text, user_id uuid, code text, detail text)
             WHERE o.organization_id = \(operation.organization) AND o.operation_id = \(operation.id) AND o.row = r.row
            """)
    }

    /// Writes how far an operation is.
    package func advance(
        _ operation: LongOperation, to done: Int, of total: Int, outcomes: [String: Int], at now: Date,
        _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            UPDATE operation SET status = 'running', done = \(done), total = \(total), outcomes = \(json: outcomes), failures = 0,
                   started_at = coalesce(started_at, \(now))
             WHERE organization_id = \(operation.organization) AND id = \(operation.id)
            """)
    }

    /// Ends an operation; what it needed to know is forgotten.
    package func finish(
        _ operation: LongOperation, as status: LongOperation.Status, at now: Date, _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            UPDATE operation SET status = \(status.rawValue), input = NULL, started_at = coalesce(started_at, \(now)),
                   finished_at = \(now)
             WHERE organization_id = \(operation.organization) AND id = \(operation.id)
            """)
        try await transaction.query(
            """
            UPDATE operation_row SET input = NULL WHERE organization_id = \(operation.organization)
               AND operation_id = \(operation.id) AND input IS NOT NULL
            """)
        try await transaction.query("SELECT end_operation(\(operation.id))")
    }

    /// Counts a step that failed. - Returns: how many failed since the last one that did not.
    package func noteFailure(
        of operation: LongOperation, _ transaction: PostgresTransaction
    ) async throws -> Int {
        try await transaction.query(
            """
            UPDATE operation SET failures = failures + 1
             WHERE organization_id = \(operation.organization) AND id = \(operation.id) RETURNING failures
            """
        ).first?.decode("failures", as: Int.self) ?? 0
    }
}
