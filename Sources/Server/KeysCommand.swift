import ArgumentParser
import ControlPlane
import Foundation
import Keys
import Tenancy

/// `gatehouse keys`
struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Import signing keys.", subcommands: [Import.self])

    /// `gatehouse keys import`
    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Import the private key that an existing MCP server's PUBLIC_KEY_PEM belongs to.",
            discussion: """
                The key signs access tokens for this resource alone, so that the server keeps checking tokens as it does. A key \
                can be imported once. The file holds PEM (PKCS#8 or PKCS#1) and is not needed afterwards: what is stored is \
                sealed under the organization's data key.
                """)

        @OptionGroup var options: CommonOptions

        @Option(help: ArgumentHelp("Who owns the resource: a slug or id, or platform.", valueName: "slug-or-id"))
        var organization: String

        @Option(help: ArgumentHelp("The resource: its URI or res_ id.", valueName: "uri-or-id"))
        var resource: String

        @Option(help: ArgumentHelp("PEM file with the private key.", valueName: "file"))
        var privateKeyFile: String

        func run() async throws {
            let settings = try await reportingProblems { try await ServerConfiguration.read(file: options.config) }
            guard let pem = try? String(contentsOfFile: privateKeyFile, encoding: .utf8) else {
                throw CommandFailure("\(privateKeyFile) cannot be read.")
            }
            try await withAdministration(settings) { administration in
                let owner = try await find(in: administration)
                let wanted = ResourceURI(resource)?.canonical
                let known = try await administration.resources.all(of: owner.id)
                guard let found = known.first(where: { $0.id.description == resource || $0.canonicalURI == wanted })
                else {
                    throw CommandFailure("\(organization) has no resource \(resource).")
                }
                let imported = try await administration.importSigningKey(
                    .privateKey(Secret(pem)), for: found.id, in: owner, by: Administrator(system: "keys", now: Date()))
                print("imported \(imported.value.id) (\(imported.value.algorithm.rawValue)) for \(found.uri)")
                if imported.value.status == .published {
                    print(
                        "Another key signs for it until you activate this one: POST /v1/\(owner.id == .platform ? "" : "organizations/\(owner.slug)/")signing-keys/\(imported.value.id):activate"
                    )
                }
            }
        }

        private func find(in administration: Administration) async throws -> Organization {
            var id = organization == "platform" ? .platform : OrganizationID(organization)
            if id == nil { id = try await administration.organizations.organization(ofSlug: organization) }
            guard let id, let found = try await administration.organizations.find(id) else {
                throw CommandFailure("There is no organization \(organization).")
            }
            return found
        }
    }
}
