import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/branding`: how the organization's pages look to its people.
struct BrandingEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "branding", .organizationsRead, in: .organization, use: get,
            as: .read("getBranding", "How the organization's pages look", Self.schema))
        table.patch(
            "branding", .organizationsWrite, in: .organization, use: update,
            as: .update(
                "updateBranding", "Change how the organization's pages look", from: Self.change, to: Self.schema,
                ifMatch: .optional
            ).said(
                "Accents have to stand out from our pages by 4.5 to 1 (WCAG AA). A logo is PNG, JPEG or WebP in base64."
            ))
    }

    private static let color = Schema.string(pattern: "^#[0-9A-Fa-f]{6}$").nullable

    private static let schema = Schema.named(
        "Branding",
        .object([
            "display_name": .name.nullable, "accent_color": color, "accent_color_dark": color,
            "logo": .object([
                "media_type": .words(Branding.Logo.Format.self), "size": .integer(1...Administration.largestLogo),
                "url": .uri,
            ]).nullable,
            "updated_at": .time.nullable,
        ]))

    private static let change = Schema.named(
        "BrandingPatch",
        .patch([
            "display_name": .name.nullable, "accent_color": color, "accent_color_dark": color,
            "logo": .string(1...87_384, pattern: "^[A-Za-z0-9+/]+={0,2}$").nullable,
        ]))

    private func get(_ call: AdminCall) async throws -> Response {
        let branding = try await administration.brandings.find(call.organization.id)
        return call.reply(
            .ok, Self.json(branding, of: call.organization.id, call.publicURL), version: branding.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let condition = try call.condition()
        var members = try await call.patch()
        var update = BrandingUpdate()
        update.displayName = members.patch(string: "display_name")
        update.accentColor = members.patch(string: "accent_color")
        update.accentColorDark = members.patch(string: "accent_color_dark")
        update.logo = members.patch(string: "logo")
        try members.finish()
        let (organization, publicURL) = (call.organization.id, call.publicURL)
        let wanted = update
        return try await call.write { administrator in
            try await administration.updateBranding(of: organization, wanted, if: condition, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value, of: organization, publicURL), version: done.value.version)
        }
    }

    private static func json(_ branding: Branding, of organization: OrganizationID, _ publicURL: String) -> [UInt8] {
        JSONWriter.object { json in
            json.optional("display_name", branding.displayName)
            json.optional("accent_color", branding.accentLight?.description)
            json.optional("accent_color_dark", branding.accentDark?.description)
            if let logo = branding.logo {
                json.object("logo") { json in
                    json.string("media_type", logo.format.rawValue)
                    json.int("size", logo.size)
                    json.string("url", "\(publicURL)/\(BrandAssets.path(of: logo, organization))")
                }
            } else {
                json.null("logo")
            }
            json.optional("updated_at", time: branding.updatedAt)
        }
    }
}
