import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Keys
import Tenancy
import Testing

@testable import API
@testable import ControlPlane

@Suite struct SignInPagesTests {
    private static let client = RequestingClient(
        name: "ChatGPT", documentHost: nil, destination: .host("chatgpt.com"), isVerified: false)
    private static let local = RequestingClient(
        name: "Claude Code", documentHost: "claude.ai", destination: .thisComputer("localhost"), isVerified: false)
    private static let device = RequestingClient(
        name: "Television", documentHost: nil, destination: .device(userCode: "WDJB-MJHT"), isVerified: true)
    private static let acme = PageOrganization(slug: "acme", name: "Acme Corporation")
    private static let branded = PageOrganization(
        slug: "acme", name: "Acme Labs",
        brand: PageOrganization.Brand(
            organization: OrganizationID.make(at: Date(timeIntervalSince1970: 1_795_000_000), .system),
            branding: Branding(
                displayName: "Acme Labs", accentLight: SRGBColor("#1a4fa0"), accentDark: SRGBColor("#8ab4ff"),
                logo: Branding.Logo(format: .png, size: 1, digest: Array(repeating: 7, count: 32)), version: 1,
                updatedAt: nil)))

    private static func start(
        _ client: RequestingClient = client, organization: PageOrganization? = nil, signedInAs: String? = nil,
        choices: [PageOrganization] = [], emailHint: String? = nil, problem: String? = nil
    ) -> StartPage {
        StartPage(
            transaction: "tx", csrfToken: "csrf", client: client, resourceName: "Observability",
            resourceURI: "https://mcp.example.com/mcp", organization: organization, signedInAs: signedInAs,
            choices: choices, emailHint: emailHint, problem: problem)
    }

    private static func code(problem: String? = nil) -> CodePage {
        CodePage(
            transaction: "tx", csrfToken: "csrf", client: client, organization: acme, email: "ada@acme.example",
            problem: problem)
    }

    private static func consent(
        _ client: RequestingClient = client,
        scopes: [Resource.Scope] = [
            .init(name: "read", description: "Look at dashboards, datasets and logs"),
            .init(name: "smart_tools", description: "Ask questions that are answered by several searches"),
        ], withheld: [String] = ["write", "admin"], redirectTarget: String? = "https://chatgpt.com"
    ) -> ConsentPage {
        ConsentPage(
            transaction: "tx", csrfToken: "csrf", client: client, organization: acme, account: "ada@acme.example",
            resourceName: "Observability", resourceURI: "https://mcp.example.com/mcp", scopes: scopes,
            personalScopes: ["profile", "email"], withheld: withheld, redirectTarget: redirectTarget,
            staysConnected: true)
    }

    private static let connectionsStart = StartPage(
        transaction: "tx", csrfToken: "csrf", client: nil, resourceName: nil, resourceURI: nil, organization: nil,
        signedInAs: nil, choices: [], emailHint: nil, problem: nil)

    private static func connections(_ text: String, count: Int = 2) -> ConnectionsPage {
        let day = Date(timeIntervalSince1970: 1_795_000_000)
        let one = ConnectionsPage.Connection(
            grant: GrantID.make(at: day, .system), clientName: text, clientHost: text, resourceName: text,
            resourceURI: text, scopes: [.init(name: text, description: text)], since: day, lastUsed: day)
        return ConnectionsPage(
            csrfToken: text, organization: PageOrganization(slug: "acme", name: text), account: text,
            connections: Array(repeating: one, count: count), others: [PageOrganization(slug: "globex", name: text)],
            ended: text)
    }

    private static let request = Tenancy.RequestID.make(at: Date(), .system)

    private static func message(_ kind: MessagePage.Kind = .expired, wayBack: String? = nil) -> MessagePage {
        var page = MessagePage(
            kind: kind, title: "This page is no longer valid",
            explanation: "The sign-in was finished, took longer than ten minutes, or was started in another browser.",
            advice: "Go back to the application and connect again.", errorCode: "invalid_request")
        page.wayBack = wayBack.map { MessagePage.WayBack(host: "app.example", location: $0) }
        return page
    }

    private func pages(_ publicURL: String = "https://as.example") throws -> Pages {
        try Pages(settings: EdgeSettings(publicURL: publicURL))
    }

    private func html(_ response: Response) async throws -> String {
        let router = Router(context: AppContext.self)
        router.get("page") { _, _ in response }
        return try await Application(router: router).test(.router) { client in
            try await client.execute(uri: "/page", method: .get) { String(buffer: $0.body) }
        }
    }

    /// Every page in every state a person can meet, by name.
    private func everyPage() throws -> [(name: String, response: Response)] {
        let pages = try pages()
        return [
            ("start", pages.start(Self.start(emailHint: nil))),
            ("start-organization", pages.start(Self.start(organization: Self.acme, emailHint: "ada@acme.example"))),
            ("start-branded", pages.start(Self.start(organization: Self.branded))),
            ("start-session", pages.start(Self.start(organization: Self.acme, signedInAs: "ada@acme.example"))),
            (
                "start-choices",
                pages.start(Self.start(choices: [Self.acme, PageOrganization(slug: "globex", name: "Globex")]))
            ),
            ("start-loopback", pages.start(Self.start(Self.local))),
            (
                "start-problem",
                pages.start(
                    Self.start(emailHint: "ada@", problem: "Enter your work e-mail address, such as name@example.com."))
            ),
            ("start-connections", pages.start(Self.connectionsStart)),
            ("connections", pages.connections(Self.connections("ChatGPT"))),
            ("connections-none", pages.connections(Self.connections("ChatGPT", count: 0))),
            ("code", pages.code(Self.code())),
            (
                "code-problem",
                pages.code(Self.code(problem: "That code is not right. Check the newest mail, or have a new one sent."))
            ),
            ("consent", pages.consent(Self.consent())),
            (
                "consent-loopback",
                pages.consent(Self.consent(Self.local, withheld: [], redirectTarget: "http://localhost:3118"))
            ),
            ("consent-nothing", pages.consent(Self.consent(scopes: []))),
            ("device", pages.device(DevicePage(csrfToken: "csrf", problem: nil))),
            ("device-problem", pages.device(DevicePage(csrfToken: "csrf", problem: "No device waits with this code."))),
            ("start-device", pages.start(Self.start(Self.device, organization: Self.acme))),
            ("consent-device", pages.consent(Self.consent(Self.device, redirectTarget: nil))),
            ("message-done", pages.message(.deviceConnected, to: Self.request)),
            ("message", pages.message(Self.message(), to: Self.request)),
            (
                "message-back",
                pages.message(
                    Self.message(.badRequest, wayBack: "https://app.example/cb?error=invalid_scope"),
                    to: Self.request)
            ),
            ("invited", pages.invited()),
            ("home", pages.home()),
            ("reference", pages.reference(Self.description)),
        ]
    }

    private static let description = OpenAPIDocument(
        routes: [
            DescribedRoute(
                method: .post, path: "/v1/organizations/{org}/users", place: .organization,
                scope: .usersWrite,
                operation: .create(
                    "createUser", "Make a person", from: .draft(["email": .email, "name": .name.optional]),
                    to: .object(["id": .id(UserID.self), "name": .string.nullable])), id: "createUser")
        ], url: "https://as.example")

    @Test("AZ-15 R-16 R-27 every page forbids frames, scripts, caching, sniffing and referrers (RFC 9700 §4.16)")
    func headers() async throws {
        for (name, response) in try everyPage() {
            let policy = try #require(response.headers[.contentSecurityPolicy])
            #expect(policy.hasPrefix("default-src 'none'; style-src 'self'; form-action 'self'"), "\(name)")
            #expect(policy.contains("frame-ancestors 'none'"))
            #expect(policy.contains("base-uri 'none'"))
            #expect(!policy.contains("unsafe") && !policy.contains("script-src"))
            #expect(response.headers[.xFrameOptions] == "DENY")
            #expect(response.headers[.cacheControl] == "no-store")
            #expect(response.headers[.referrerPolicy] == "no-referrer")
            #expect(response.headers[.crossOriginOpenerPolicy] == "same-origin")
            #expect(response.headers[.contentType] == "text/html; charset=utf-8")
        }
    }

    @Test(
        "pages hold no script, no style attribute and no unescaped template value; forms are one, by POST, with a CSRF token"
    )
    func structure() async throws {
        for (name, template) in Templates.all {
            #expect(!template.contains("{{{") && !template.contains("{{&"), "\(name)")
        }
        for (name, response) in try everyPage() {
            let text = try await html(response)
            #expect(!text.contains("<script") && !text.contains("style=") && !text.contains("{{"), "\(name)")
            #expect(text.firstMatch(of: /\son[a-z]+=/) == nil, "\(name)")
            #expect(text.matches(of: /<h1/).count == 1, "\(name)")
            #expect(text.contains("<html lang=\"en\">") && text.contains("<main>"), "\(name)")
            let forms = text.matches(of: /<form\s/).count
            let asks = ["start", "code", "consent", "device"].contains { name.hasPrefix($0) }
            if asks {
                #expect(forms == 1, "\(name)")
                let action = name.hasPrefix("device") ? "/device\"" : "/signin/tx"
                #expect(text.contains("<form method=\"post\" action=\"\(action)"), "\(name)")
                #expect(text.contains("name=\"csrf_token\" value=\"csrf\""), "\(name)")
            } else if name == "connections" {
                #expect(forms == 2 && text.matches(of: /name="csrf_token" value="ChatGPT"/).count == 2)
                #expect(text.matches(of: /<form method="post" action="\/connections"/).count == 2)
            } else {
                #expect(forms == 0, "\(name)")
            }
        }
    }

    @Test(
        "R-21 P-10 no text from outside becomes markup, in a tag, an attribute or a title",
        arguments: [
            "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' autofocus onfocus='x",
            // The engine's own escaping works on grapheme clusters; some of these hide the character in one.
            "\u{0600}<script>alert(1)</script>", "\u{110BD}<b>", "\"\u{0301} onfocus=x a=\u{0600}\"",
            "<\u{200D}<script>",
            "{{csrfToken}}{{{problem}}}", "&lt;script&gt;", "\u{0600}\u{7}<script>", "\u{0600}\u{202E}<script>",
        ])
    func escaping(hostile: String) async throws {
        let pages = try pages()
        for (strange, plain) in zip(try everyPage(saying: hostile, pages), try everyPage(saying: "x", pages)) {
            let text = try await html(strange)
            let expected = try await html(plain)
            // Whatever was said, the page has exactly the markup it has for a plain word.
            for mark in ["<", ">", "\""] as [Unicode.Scalar] {
                #expect(text.unicodeScalars.count { $0 == mark } == expected.unicodeScalars.count { $0 == mark })
            }
            #expect(!text.unicodeScalars.contains("\u{202E}"))
            #expect(strange.headers[.contentSecurityPolicy].map { !$0.contains(hostile) } ?? false)
        }
    }

    /// Every page with the same text in every place that others fill.
    private func everyPage(saying text: String, _ pages: Pages) throws -> [Response] {
        let client = RequestingClient(
            name: text, documentHost: text, destination: .host(text), isVerified: false)
        let organization = PageOrganization(slug: text, name: text)
        return [
            pages.start(
                StartPage(
                    transaction: "tx", csrfToken: text, client: client, resourceName: text, resourceURI: text,
                    organization: organization, signedInAs: text, choices: [], emailHint: text, problem: text)),
            pages.start(
                StartPage(
                    transaction: "tx", csrfToken: "csrf", client: client, resourceName: nil, resourceURI: nil,
                    organization: nil, signedInAs: nil, choices: [organization], emailHint: text, problem: nil)),
            pages.code(
                CodePage(
                    transaction: "tx", csrfToken: "csrf", client: client, organization: organization, email: text,
                    problem: text)),
            pages.consent(
                ConsentPage(
                    transaction: "tx", csrfToken: "csrf", client: client, organization: organization, account: text,
                    resourceName: text, resourceURI: text, scopes: [.init(name: text, description: text)],
                    personalScopes: [text], withheld: [text], redirectTarget: "https://app.example",
                    staysConnected: true)),
            pages.connections(Self.connections(text)),
            pages.message(
                MessagePage(kind: .refused, title: text, explanation: text, advice: text, errorCode: text),
                to: Self.request),
        ]
    }

    @Test("a text keeps every letter of every script and loses only what hides or reorders markup")
    func pageText() {
        #expect(PageText("Ärztekammer Zürich – 株式会社 é 👩‍👩‍👧").renderText == "Ärztekammer Zürich – 株式会社 é 👩‍👩‍👧")
        #expect(PageText("a\u{0}b\u{202E}c\n").renderText == "abc")
        #expect(PageText("\u{0600}<b").renderText == "<b")
        #expect(PageText("\"\u{0301}").renderText == "\"")
    }

    @Test(
        "AZ-24 MCP-AS-23 MCP-AS-24 consent names client, organization, account, server, scopes and where the answer goes, and warns of loopback"
    )
    func consentSays() async throws {
        let pages = try pages()
        let text = try await html(pages.consent(Self.consent()))
        for expected in [
            "ChatGPT", "Acme Corporation", "ada@acme.example", "https://mcp.example.com/mcp", "chatgpt.com",
            "Not verified",
            "Look at dashboards", "smart_tools", "write", "value=\"allow\"", "value=\"deny\"",
        ] {
            #expect(text.contains(expected), "\(expected)")
        }
        let local = try await html(pages.consent(Self.consent(Self.local, redirectTarget: "http://localhost:3118")))
        #expect(local.contains("Did you start this yourself?"))
        #expect(local.contains("claude.ai"))
        let nothing = try await html(pages.consent(Self.consent(scopes: [])))
        #expect(!nothing.contains("value=\"allow\""))
    }

    @Test("what page one asks depends on what is known: address, organization, a choice, or nothing but going on")
    func startAsks() async throws {
        let pages = try pages()
        let open = try await html(pages.start(Self.start()))
        #expect(open.contains("name=\"email\"") && open.contains("name=\"organization\" type=\"text\""))
        let known = try await html(pages.start(Self.start(organization: Self.acme)))
        #expect(known.contains("name=\"email\"") && !known.contains("name=\"organization\""))
        let session = try await html(pages.start(Self.start(organization: Self.acme, signedInAs: "ada@acme.example")))
        #expect(session.contains("Continue as") && session.contains("value=\"other_account\""))
        let choices = try await html(pages.start(Self.start(choices: [Self.acme])))
        #expect(choices.contains("type=\"radio\" name=\"organization\" value=\"acme\" checked"))
    }

    @Test("a page with a problem says so at once to those who cannot see it, and is 422")
    func problems() async throws {
        let pages = try pages()
        for response in [pages.start(Self.start(problem: "Wrong.")), pages.code(Self.code(problem: "Wrong."))] {
            #expect(response.status == .unprocessableContent)
            let text = try await html(response)
            #expect(text.contains("role=\"alert\">Wrong.") && text.contains("aria-invalid=\"true\""))
            #expect(text.contains("<title>Problem: "))
        }
    }

    @Test("BC-01 R-21 a way back is a link a person chooses, never one that runs")
    func wayBack() async throws {
        let pages = try pages()
        let good = try await html(
            pages.message(Self.message(wayBack: "https://app.example/cb?error=x&state=y"), to: Self.request))
        #expect(good.contains("href=\"https://app.example/cb?error=x&amp;state=y\""))
        for location in ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "vbscript:x", "/relative"] {
            let text = try await html(pages.message(Self.message(wayBack: location), to: Self.request))
            #expect(!text.contains("Go back to <bdi>"), "\(location)")
        }
    }

    @Test(
        "form-action lets the redirect to the client through, and nothing that could be a second directive (CSP3 §6.4.2)"
    )
    func formAction() throws {
        func policy(_ response: Response) -> String { response.headers[.contentSecurityPolicy] ?? "" }
        let pages = try pages()
        #expect(policy(pages.start(Self.start())).contains("form-action 'self' https://chatgpt.com:*;"))
        #expect(policy(pages.start(Self.start(Self.local))).contains("form-action 'self' http://localhost:*;"))
        #expect(policy(pages.consent(Self.consent())).contains("form-action 'self' https://chatgpt.com;"))
        #expect(policy(pages.consent(Self.consent(redirectTarget: "cursor:"))).contains("form-action 'self' cursor:;"))
        #expect(
            policy(pages.consent(Self.consent(redirectTarget: "http://[::1]:3000"))).contains(
                "form-action 'self' http:;"))
        #expect(
            policy(pages.consent(Self.consent(redirectTarget: "https://x; script-src *"))).contains(
                "form-action 'self';"))
        #expect(policy(pages.message(Self.message(), to: Self.request)).contains("form-action 'self';"))
    }

    @Test("BC-05 cookies are __Host-, Secure, HttpOnly and SameSite=Lax over https, and plain only on loopback http")
    func cookies() throws {
        let organization = OrganizationID.make(at: Date(), .system)
        let secure = BrowserCookies(isSecure: true)
        #expect(secure.settingBrowser("v") == "__Host-gatehouse_browser=v; Path=/; HttpOnly; SameSite=Lax; Secure")
        #expect(
            secure.settingSession(of: organization, "s", lifetime: .seconds(60))
                == "__Host-gatehouse_session_\(organization)=s; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60")
        let plain = BrowserCookies(isSecure: false)
        #expect(plain.settingBrowser("v") == "gatehouse_browser=v; Path=/; HttpOnly; SameSite=Lax")
    }

    @Test("R-20 cookies without the prefix do not count over https; of two with one name the first does")
    func readingCookies() throws {
        let organization = OrganizationID.make(at: Date(), .system)
        func context(_ header: String, isSecure: Bool = true) -> BrowserContext {
            let head = HTTPRequest(
                method: .get, scheme: "https", authority: "x", path: "/", headerFields: [.cookie: header])
            return BrowserCookies(isSecure: isSecure).context(
                of: Request(head: head, body: RequestBody(buffer: .init())))
        }
        #expect(context("gatehouse_browser=evil").binding == nil)
        #expect(context("a=b; __Host-gatehouse_browser=good; __Host-gatehouse_browser=late").binding == "good")
        #expect(
            context("__Host-gatehouse_session_\(organization)=ses_x.y=z").sessions == [organization: "ses_x.y=z"])
        #expect(context("__Host-gatehouse_session_nonsense=x").sessions.isEmpty)
        #expect(context("gatehouse_browser=dev; gatehouse_invitation=gi_x", isSecure: false).invitation == "gi_x")
    }

    @Test("AZ-13 after a POST the next page is fetched by GET, and clients are answered with 303 (RFC 9700 §4.12)")
    func answers() throws {
        let answers = AuthorizationAnswers(
            pages: try pages(), cookies: BrowserCookies(isSecure: true), publicURL: "https://as.example")
        let next = answers.response(to: AuthorizationReply(.code(Self.code())), of: Self.request, posted: true)
        #expect(next.status == .seeOther)
        #expect(next.headers[.location] == "https://as.example/signin/tx")
        #expect(answers.response(to: AuthorizationReply(.code(Self.code())), of: Self.request).status == .ok)
        #expect(
            answers.response(
                to: AuthorizationReply(.code(Self.code(problem: "x"))), of: Self.request, posted: true
            ).status == .unprocessableContent)
        let redirect = answers.response(
            to: AuthorizationReply(.redirect(ClientRedirect(location: "https://app.example/cb?code=x"))),
            of: Self.request, posted: true)
        #expect(redirect.status == .seeOther)
        #expect(redirect.headers[.location] == "https://app.example/cb?code=x")
        #expect(redirect.headers[.referrerPolicy] == "no-referrer")
        #expect(redirect.headers[.cacheControl] == "no-store")
        var reply = AuthorizationReply(.code(Self.code()))
        reply.setBinding = "b"
        reply.setSession = (OrganizationID.platform, "s", .seconds(5))
        #expect(answers.response(to: reply, of: Self.request, posted: true).headers[values: .setCookie].count == 2)
    }

    @Test("error pages name their request, good news does not; an address that was refused is there to be mended")
    func helpfulPages() async throws {
        let pages = try pages()
        let name = "mention request <code>\(Self.request)</code>"
        #expect(try await html(pages.message(Self.message(), to: Self.request)).contains(name))
        #expect(try await !html(pages.message(.deviceConnected, to: Self.request)).contains("mention request"))
        let start = try await html(pages.start(Self.start(emailHint: #"a"><b>@x"#, problem: "No.")))
        #expect(start.contains(#"value="a&quot;&gt;&lt;b&gt;@x""#))
    }

    /// Also writes the pages into the folder named by `GATEHOUSE_PAGE_DUMP`, to be looked at in a browser.
    @Test("AZ-15 no page has a script or a style of its own, and each names its language and title")
    func everyPageIsPlain() async throws {
        let folder = ProcessInfo.processInfo.environment["GATEHOUSE_PAGE_DUMP"].map { URL(filePath: $0) }
        if let folder {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try Data(Templates.stylesheet.utf8).write(to: folder.appending(path: "page.css"))
        }
        for (name, response) in try everyPage() {
            let text = try await html(response)
            #expect(!text.contains("<script") && !text.contains("<style") && !text.contains(" style="), "\(name)")
            #expect(text.contains("<html lang=\"en\">") && text.contains("<title>"), "\(name)")
            guard let folder else { continue }
            let local = text.replacing(/\/assets\/[^"]+\.css/, with: "page.css")
            try Data(local.utf8).write(to: folder.appending(path: name + ".html"))
        }
    }
}
