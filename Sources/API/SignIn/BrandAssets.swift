import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// `GET P/assets/brand/{organization}/{file}`: an organization's colours and its logo, from our own origin, at paths that
/// change with their content. A picture was checked to be one; it is served as that and nothing else.
struct BrandAssets: Sendable {
    let catalog: TenantCatalog
    let brandings: BrandingStore

    @Sendable func get(_ request: Request, _ context: AppContext) async throws -> Response {
        guard let id = OrganizationID(context.parameters.get("organization") ?? ""),
            let snapshot = try await catalog.snapshot(of: id), snapshot.organization.status == .active
        else { throw HTTPError(.notFound) }
        let path = "assets/brand/\(id)/\(context.parameters.get("file") ?? "")"
        let branding = snapshot.branding
        if let style = Self.stylesheet(of: branding), path == Self.path(ofStylesheet: style, id) {
            return response(to: request, Array(style.utf8), "text/css; charset=utf-8", path)
        }
        if let logo = branding.logo, path == Self.path(of: logo, id), let bytes = try await brandings.logo(of: id),
            sha256(bytes) == logo.digest
        {
            return response(to: request, bytes, logo.format.rawValue, path)
        }
        throw HTTPError(.notFound)
    }

    private func response(to request: Request, _ bytes: [UInt8], _ type: String, _ path: String) -> Response {
        let tag = "\"\(Base64URL.encode(Array(sha256(path).prefix(12))))\""
        let headers: HTTPFields = [
            .contentType: type, .cacheControl: "public, max-age=31536000, immutable", .eTag: tag,
            .contentSecurityPolicy: "default-src 'none'; sandbox", .crossOriginResourcePolicy: "same-origin",
        ]
        if request.headers[.ifNoneMatch] == tag { return Response(status: .notModified, headers: headers) }
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    // MARK: Paths, without the leading slash

    static func path(of logo: Branding.Logo, _ organization: OrganizationID) -> String {
        let ending = logo.format.rawValue.dropFirst("image/".count)
        return "assets/brand/\(organization)/\(Base64URL.encode(Array(logo.digest.prefix(12)))).\(ending)"
    }

    static func path(ofStylesheet style: String, _ organization: OrganizationID) -> String {
        "assets/brand/\(organization)/\(Base64URL.encode(Array(sha256(style).prefix(12)))).css"
    }

    /// The accents in place of ours; nil where there are none.
    static func stylesheet(of branding: Branding) -> String? {
        func rule(_ scheme: String, _ accent: SRGBColor?, text: SRGBColor, hover: SRGBColor) -> String {
            guard let accent else { return "" }
            // Darker on light pages and lighter on dark ones: away from the colour of its text.
            return """
                @media (prefers-color-scheme: \(scheme)) { :root { --accent: \(accent); --on-accent: \(text); \
                --accent-hover: \(accent.mixed(with: hover, 0.15)); } }

                """
        }
        let style =
            rule("light", branding.accentLight, text: .white, hover: .black)
            + rule("dark", branding.accentDark, text: .black, hover: .white)
        return style.isEmpty ? nil : style
    }
}

extension HTTPField.Name {
    static let crossOriginResourcePolicy: HTTPField.Name = named("Cross-Origin-Resource-Policy")
}
