import ArgumentParser

/// The executable: one subcommand for each thing an operator does.
@main
struct Gatehouse: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gatehouse",
        abstract: "The authorization control plane between AI clients and MCP servers, for many organizations.",
        discussion: """
            Settings come from the environment (GATEHOUSE_…, DATABASE_URL, REDIS_URL) and from --config FILE, a YAML file \
            with the same names in lower case; the environment wins. Any setting may be given as NAME_FILE, the name of \
            a file that holds the value.

            First steps on a new database:
              gatehouse migrate --create-roles                     make roles and tables
              gatehouse bootstrap --platform-admin-key operations  make the platform and print an admin key
              gatehouse serve                                      serve on GATEHOUSE_PORT (8001)
            """,
        subcommands: [Serve.self, Migrate.self, Bootstrap.self, KeysCommand.self])
}

/// What every subcommand takes.
struct CommonOptions: ParsableArguments {
    @Option(help: "YAML file with settings; the environment wins over it.")
    var config: String?

    @Option(
        help: "Folder of the migration files. Default: migrations/ beside the executable's share folder, else here.")
    var migrations: String?
}
