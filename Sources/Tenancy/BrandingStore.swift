package import Foundation
package import Postgres

/// How organizations' pages look.
package struct BrandingStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    private static let columns: SQL = """
        display_name, accent_light, accent_dark, logo_type, octet_length(logo) AS logo_size, sha256(logo) AS logo_digest, \
        version, updated_at
        """

    package func find(_ organization: OrganizationID) async throws -> Branding {
        try await database.read(
            organization, "SELECT \(Self.columns) FROM branding WHERE organization_id = \(organization)",
            as: Branding.init(row:)
        ).first ?? .none
    }

    package func logo(of organization: OrganizationID) async throws -> [UInt8]? {
        try await database.read(
            organization, "SELECT logo FROM branding WHERE organization_id = \(organization)"
        ) { try $0.decode("logo", as: [UInt8]?.self) }.first.flatMap { $0 }
    }

    /// What becomes of a logo's bytes.
    package enum LogoChange: Sendable {
        case keep
        case replace([UInt8])
        case remove
    }

    /// Writes branding whose version is still `branding.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ branding: Branding, logo: LogoChange, of organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws -> Branding? {
        var bytes: [UInt8]?
        var keeps = false
        switch logo {
        case .keep: keeps = true
        case .replace(let new): bytes = new
        case .remove: break
        }
        let format = branding.logo?.format.rawValue
        return try await transaction.query(
            """
            INSERT INTO branding (organization_id, display_name, accent_light, accent_dark, logo, logo_type, version,
                                  updated_at)
            VALUES (\(organization), \(branding.displayName), \(branding.accentLight?.description),
                    \(branding.accentDark?.description), \(bytes), \(bytes == nil ? nil : format), 1, \(now))
            ON CONFLICT (organization_id) DO UPDATE
               SET display_name = EXCLUDED.display_name, accent_light = EXCLUDED.accent_light,
                   accent_dark = EXCLUDED.accent_dark,
                   logo = CASE WHEN \(keeps) THEN branding.logo ELSE EXCLUDED.logo END,
                   logo_type = CASE WHEN \(keeps) THEN branding.logo_type ELSE EXCLUDED.logo_type END,
                   version = branding.version + 1, updated_at = EXCLUDED.updated_at
             WHERE branding.version = \(branding.version)
            RETURNING \(Self.columns)
            """
        ).map(Branding.init(row:)).first
    }
}

extension Branding {
    fileprivate init(row: Row) throws {
        var logo: Logo?
        if let format = try row.decode("logo_type", as: String?.self).flatMap(Logo.Format.init(rawValue:)),
            let digest = try row.decode("logo_digest", as: [UInt8]?.self)
        {
            logo = Logo(format: format, size: Int(try row.decode("logo_size", as: Int32.self)), digest: digest)
        }
        self.init(
            displayName: try row.decode("display_name"),
            accentLight: try row.decode("accent_light", as: String?.self).flatMap(SRGBColor.init),
            accentDark: try row.decode("accent_dark", as: String?.self).flatMap(SRGBColor.init), logo: logo,
            version: try row.decode("version"), updatedAt: try row.decode("updated_at"))
    }
}
