import ArgumentParser
import ControlPlane
import Foundation
import Keys
import Logging
import Outbound
import Postgres
import Tenancy

/// `gatehouse bootstrap`
struct Bootstrap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the platform, and what an operator begins with.",
        discussion: """
            Safe to repeat. Makes the platform's own row and signing key, as gatehouse serve does too. With \
            --platform-admin-key it also prints an admin key that may do everything (GATEHOUSE_ADMIN_KEY=gh_…): a new one each \
            time, shown once.

            Where the settings of an existing server are in the environment, it also makes the organization "default": its \
            sign-in from STYTCH_PROJECT_ID, STYTCH_SECRET and STYTCH_ENVIRONMENT, and its resource http://localhost:8000/mcp \
            from PUBLIC_KEY_PEM, the key that server checks RS256 tokens with. The resource issues tokens once the private \
            half is imported: gatehouse keys import --organization default --resource http://localhost:8000/mcp \
            --private-key-file FILE.
            """)

    @OptionGroup var options: CommonOptions

    @Option(help: ArgumentHelp("Print a new platform admin key with this name.", valueName: "name"))
    var platformAdminKey: String?

    func run() async throws {
        let (settings, values) = try await reportingProblems {
            (try await ServerConfiguration.read(file: options.config), try await existingServer(options.config))
        }
        try await withAdministration(settings) { administration in
            let isNew = try await administration.bootstrapPlatform(at: Date())
            print(isNew ? "made the platform" : "the platform is there")
            if let values {
                let organization = try await administration.bootstrapDefaultOrganization(values, at: Date())
                print("organization \(organization.slug): \(settings.publicURL)/o/\(organization.slug)")
                print(
                    "People can sign in once an administrator invites them, or verifies their mail domain and names it in "
                        + "authoritative_domains of the identity provider (see docs/api.md).")
            }
            if let platformAdminKey {
                let issued = try await administration.createPlatformAdminKey(name: platformAdminKey, at: Date())
                print("GATEHOUSE_ADMIN_KEY=\(issued.secret.revealed)")
            }
        }
    }

    /// The names an existing deployment of one MCP server has in its environment; nil when there are none.
    private func existingServer(_ file: String?) async throws -> DefaultOrganizationValues? {
        var reader = try await SettingsReader(file: file)
        let project = reader.text("STYTCH_PROJECT_ID")
        let secret = reader.text("STYTCH_SECRET")
        let publicKey = reader.text("PUBLIC_KEY_PEM")
        if let project, let environment = reader.text("STYTCH_ENVIRONMENT"),
            !project.hasPrefix("project-\(environment)-")
        {
            reader.complain("STYTCH_ENVIRONMENT is \(environment), but STYTCH_PROJECT_ID is of another environment.")
        }
        if (project == nil) != (secret == nil) { reader.complain("STYTCH_PROJECT_ID and STYTCH_SECRET go together.") }
        try reader.finish()
        guard project != nil || publicKey != nil else { return nil }
        return DefaultOrganizationValues(
            stytchProjectID: project, stytchSecret: secret.map { Secret($0) }, publicKeyPEM: publicKey)
    }
}

/// Runs one command's work over the database, without serving.
func withAdministration(
    _ settings: ServerConfiguration, _ work: (Administration) async throws -> Void
) async throws {
    LoggingSystem.bootstrap { LineLogHandler(label: $0, format: .text, level: .warning) }
    let services = try Services(settings, logger: Logger(label: "gatehouse"))
    services.lanes.open()
    let result: Result<Void, any Error>
    do {
        try await ServingRole.check(services.readLane, is: .app)
        try await work(services.administration)
        result = .success(())
    } catch let error as PostgresError where error.kind == .unavailable {
        result = .failure(
            CommandFailure(
                "PostgreSQL did not let this program in; the log says why. On a new database run "
                    + "gatehouse migrate --create-roles first."))
    } catch let error as AdminError {
        result = .failure(CommandFailure(error.explanation))
    } catch {
        result = .failure(error)
    }
    await services.lanes.close()
    services.identityOutbound.shutdown()
    services.clientOutbound.shutdown()
    services.resourceOutbound.shutdown()
    try result.get()
}
