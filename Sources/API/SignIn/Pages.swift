import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import Mustache
import NIOCore
import Tenancy

/// Renders pages, and gives each the headers that keep others out of it (RFC 9700 §4.16, RFC 6749 §10.13).
struct Pages: Sendable {
    /// What the whole page is made from.
    private struct Frame {
        let title: PageText
        let stylesheet: PageText
        /// Only where the page may show pictures: elsewhere its policy would block the link.
        let icon: PageText?
        let home: PageText
        /// Whose page it is, where that is proven enough to look like theirs.
        let brand: BrandView?
        let page: Any
    }

    private let library: MustacheLibrary
    private let settings: EdgeSettings
    let stylesheet: Stylesheet

    /// - Throws: the template engine's error when a template is malformed; a test renders every one.
    init(settings: EdgeSettings) throws {
        var library = MustacheLibrary()
        for (name, template) in Templates.all { try library.register(template, named: name) }
        self.library = library
        self.settings = settings
        stylesheet = Stylesheet()
    }

    // MARK: The pages

    func start(_ page: StartPage) -> Response {
        respond(
            "start", StartView(page, action: path("signin/\(page.transaction)")),
            title: page.client.map { "Connect \($0.name)" } ?? "Your connections",
            problem: page.problem, sendsFormTo: page.client.flatMap(Self.formAction(of:)), for: page.organization)
    }

    func code(_ page: CodePage) -> Response {
        let start = "signin/\(page.transaction)"
        return respond(
            "code", CodeView(page, action: path(start + "/code"), startAction: path(start)), title: "Enter your code",
            problem: page.problem, sendsFormTo: page.client.flatMap(Self.formAction(of:)), for: page.organization)
    }

    func connections(_ page: ConnectionsPage) -> Response {
        respond(
            "connections", ConnectionsView(page, at: path("connections")), title: "Your connections",
            for: page.organization)
    }

    func device(_ page: DevicePage) -> Response {
        respond(
            "device", DeviceView(page, action: path("device")), title: "Connect a device", problem: page.problem)
    }

    func consent(_ page: ConsentPage) -> Response {
        respond(
            "consent", ConsentView(page, action: path("signin/\(page.transaction)/consent")),
            title: "Allow \(page.client.name)?", problem: page.problem,
            sendsFormTo: page.redirectTarget.flatMap(Self.formAction(_:)), for: page.organization)
    }

    func message(_ page: MessagePage, to request: Tenancy.RequestID) -> Response {
        let status: HTTPResponse.Status =
            switch page.kind {
            case .done: .ok
            case .badRequest, .expired: .badRequest
            case .refused: .forbidden
            case .unavailable: .serviceUnavailable
            }
        return message(page, status: status, to: request)
    }

    func message(_ page: MessagePage, status: HTTPResponse.Status, to request: Tenancy.RequestID) -> Response {
        var response = respond("message", MessageView(page, to: request), title: page.title, status: status)
        if page.kind == .unavailable { response.headers[.retryAfter] = "5" }
        return response
    }

    /// For somebody who opened an invitation.
    func invited() -> Response {
        let view = MessageView(
            heading: "Your invitation is ready",
            explanation: "This browser remembers it for a day.",
            advice: """
                Now open your AI application, add your organization's server there and connect. When you are asked to \
                sign in, use the e-mail address that the invitation was sent to.
                """)
        return respond("message", view, title: "Your invitation is ready")
    }

    func home() -> Response {
        let view = HomeView(
            publicURL: PageText(settings.publicURL),
            metadataURL: PageText(path(".well-known/oauth-authorization-server")),
            resourcesURL: PageText(path(".well-known/mcp-resources")), referenceURL: PageText(path("v1/reference")),
            connectionsURL: PageText(path("connections")))
        return respond("home", view, title: "What this is")
    }

    /// The admin API for people; the same to everybody.
    func reference(_ document: OpenAPIDocument) -> Response {
        let view = ReferenceView(document, documentURL: path("v1/openapi.json"))
        return respond("reference", view, title: "The admin API")
    }

    // MARK: Frame and headers

    private func respond(
        _ template: String, _ view: Any, title: String, problem: String? = nil, status: HTTPResponse.Status? = nil,
        sendsFormTo target: String? = nil, for organization: PageOrganization? = nil
    ) -> Response {
        let brand = organization.flatMap { BrandView($0, settings: settings, path: path) }
        let frame = Frame(
            title: PageText(problem == nil ? title : "Problem: \(title)"), stylesheet: PageText(path(stylesheet.path)),
            icon: brand?.logo.map { _ in PageText(path("favicon.ico")) }, home: PageText(path("")), brand: brand,
            page: view)
        guard let html = library.render(frame, withTemplate: template) else {
            preconditionFailure("there is no template \(template)")
        }
        return Response(
            status: status ?? (problem == nil ? .ok : .unprocessableContent),
            headers: headers(formTarget: target, showsPicture: brand?.logo != nil),
            body: ResponseBody(byteBuffer: ByteBuffer(string: html)))
    }

    private func headers(formTarget: String?, showsPicture: Bool) -> HTTPFields {
        // Browsers hold redirects that follow a form to `form-action` too, so the client's address has to be in it.
        let formAction = ["'self'", formTarget].compactMap { $0 }.joined(separator: " ")
        return [
            .contentType: "text/html; charset=utf-8",
            .cacheControl: "no-store",
            .contentSecurityPolicy: """
            default-src 'none'; style-src 'self'; form-action \(formAction); frame-ancestors 'none'; \
            base-uri 'none'\(showsPicture ? "; img-src 'self'" : "")
            """,
            .xFrameOptions: "DENY",
            .referrerPolicy: "no-referrer",
            .crossOriginOpenerPolicy: "same-origin",
        ]
    }

    /// A path of ours as browsers see it.
    private func path(_ path: String) -> String { settings.basePath + "/" + path }

    /// The client's address as a source of CSP, as far as its host tells: page one and the code page may end in a redirect.
    static func formAction(of client: RequestingClient) -> String? {
        switch client.destination {
        case .device: return nil
        case .thisComputer(let host): return formAction("http://\(host):*")
        case .host(let host):
            // A host without a dot may also be the scheme of a private-use URI.
            if host.contains(".") { return formAction("https://\(host):*") }
            return [formAction("https://\(host):*"), formAction("\(host):")].compactMap { $0 }.joined(separator: " ")
        }
    }

    /// A source expression (CSP3 §2.3.1), or nil for a text that could be more than one.
    static func formAction(_ source: String) -> String? {
        // CSP has no spelling for IPv6 hosts: their scheme is the narrowest source there is.
        if source.contains("["), let mark = source.firstIndex(of: ":") { return String(source[...mark]) }
        let isPlain = source.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            default: "+-.:/*".utf8.contains(byte)
            }
        }
        return isPlain && !source.isEmpty ? source : nil
    }
}

/// The sign of this server in a browser's tab.
enum Icon {
    private static let bytes = ByteBuffer(
        string: """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#3b8f7d" \
            d="M3 21V8l3-2V3h2v2h3V3h2v2h3V3h2v3l3 2v13h-6v-5a3 3 0 0 0-6 0v5z"/></svg>
            """)

    /// `GET P/favicon.ico`: what browsers ask for by themselves.
    @Sendable static func get(_ request: Request, _ context: AppContext) -> Response {
        Response(
            status: .ok,
            headers: [
                .contentType: "image/svg+xml", .cacheControl: "public, max-age=86400",
                .contentSecurityPolicy: "default-src 'none'; sandbox", .crossOriginResourcePolicy: "same-origin",
            ],
            body: ResponseBody(byteBuffer: bytes))
    }
}

/// The one stylesheet, at a path that changes with its content.
struct Stylesheet: Sendable {
    /// Without the leading slash.
    let path: String
    private let bytes: ByteBuffer

    init() {
        let text = Array(Templates.stylesheet.utf8)
        path = "assets/\(Base64URL.encode(Array(sha256(text)[..<12]))).css"
        bytes = ByteBuffer(bytes: text)
    }

    /// `GET P/assets/{file}`.
    @Sendable func get(_ request: Request, _ context: AppContext) async throws -> Response {
        guard context.parameters.get("file").map({ "assets/" + $0 }) == path else { throw HTTPError(.notFound) }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/css; charset=utf-8", .cacheControl: "public, max-age=31536000, immutable",
            ],
            body: ResponseBody(byteBuffer: bytes))
    }
}
