import ArgumentParser
import Keys

/// The executable: one subcommand for each thing an operator does.
@main
struct Gatehouse: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gatehouse",
        abstract: "The authorization control plane between AI clients and MCP servers, for many organizations.",
        discussion: """
            Settings come from the environment and from --config FILE, a YAML file with the same names in lower case; the \
            environment wins. Needed: DATABASE_URL, DATABASE_SEQUENCER_URL, REDIS_URL, GATEHOUSE_MASTER_KEY_FILE; all of \
            them: docs/configuration.md. Secrets may be given as NAME_FILE, the name of a file that holds the value.

            First steps on a new database:
              gatehouse migrate --create-roles           roles and tables
              gatehouse bootstrap --platform-admin-key ops   prints an admin key
              gatehouse serve                            on port 8001
            """,
        subcommands: [Serve.self, Migrate.self, Bootstrap.self, KeysCommand.self, OpenAPICommand.self])

    static func main() async {
        OpenSSLLibrary.keepUntilEnd()
        await main(nil)
    }
}

/// Why a command ends: one sentence, without a lesson on its usage.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// What every subcommand takes.
struct CommonOptions: ParsableArguments {
    @Option(help: ArgumentHelp("YAML file with settings; the environment wins over it.", valueName: "file"))
    var config: String?
}

/// What subcommands take that look at the schema.
struct MigrationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Migration files. Default: ../share/gatehouse/migrations from the executable's folder, else ./migrations.",
            valueName: "dir"))
    var migrations: String?
}
