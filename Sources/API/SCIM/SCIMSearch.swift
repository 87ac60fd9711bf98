import Hummingbird
import Tenancy

/// `POST /.search`: everything there is, people first and groups behind them (RFC 7644 §3.4.3).
struct SCIMSearchEndpoint: Sendable {
    let users: SCIMUsersEndpoint
    let groups: SCIMGroupsEndpoint

    func search(_ call: SCIMCall) async throws -> Response {
        let body = try await call.body()
        try body.check(schema: SCIM.searchSchema)
        let query = try SCIMQuery(search: body)
        var (total, found): (Int, [[UInt8]]) = (0, [])
        var misfit: SCIMError?
        var isUnderstood = false
        for schema in SCIMSchema.all {
            var wanted: DirectoryQuery
            do {
                wanted = try query.directoryQuery(of: schema)
            } catch {
                // What one kind of resource does not have, none of its kind fits.
                guard error.kind == .invalidFilter || error.kind == .invalidPath else { throw error }
                misfit = error
                continue
            }
            isUnderstood = true
            wanted.offset = max(0, query.startIndex - 1 - total)
            wanted.limit = query.count - found.count
            let part =
                schema.id == SCIMSchema.user.id
                ? try await users.part(wanted, call, query.projection)
                : try await groups.part(wanted, call, query.projection)
            total += part.total
            found += part.page
        }
        if let misfit, !isUnderstood { throw misfit }
        return call.list(found, total: total, startIndex: query.startIndex)
    }
}
