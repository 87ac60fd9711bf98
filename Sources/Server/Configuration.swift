import ArgumentParser
import Configuration
import ControlPlane
import Foundation
import Identity
import Keys
import Logging
import Outbound
import Postgres
import Redis
import SystemPackage
import Tenancy

/// Every setting of the process, read once. Nothing else reads the environment.
struct ServerConfiguration: Sendable {
    /// The public URL `P`, without a trailing slash. Key `GATEHOUSE_URL` (or `OAUTH_BASE_URL`). Default
    /// `http://localhost:8001`.
    var publicURL: String
    /// Keys `GATEHOUSE_HOST`, `GATEHOUSE_PORT`. Default 127.0.0.1 and 8001.
    var host: String
    var port: Int
    /// Keys `GATEHOUSE_INTERNAL_HOST`, `GATEHOUSE_INTERNAL_PORT`. Default 127.0.0.1 and 9464.
    var internalHost: String
    var internalPort: Int
    /// Key `GATEHOUSE_CONNECTION_TIMEOUT_SECONDS`: how long a client may take to send a request, and a connection to say
    /// nothing. Default 30.
    var requestTimeout: Int
    /// Key `GATEHOUSE_MAX_CONNECTIONS`: connections of the public port that are open at a time; more wait until one ends.
    /// Default 10,000.
    var mostConnections: Int
    /// Own TLS. Keys `GATEHOUSE_TLS_CERT`, `GATEHOUSE_TLS_KEY`: PEM files.
    var tls: (certificate: String, key: String)?
    /// Keys `DATABASE_URL`, `DATABASE_SEQUENCER_URL`.
    var database: PostgresSettings
    var sequencer: PostgresSettings
    /// Key `REDIS_URL`.
    var redis: RedisSettings
    /// Key `GATEHOUSE_MASTER_KEY_FILE`; older keys in `GATEHOUSE_OLDER_MASTER_KEY_FILES`, separated by commas.
    var masterKey: MasterKey
    var olderMasterKeys: [MasterKey]
    /// Key `GATEHOUSE_TRUSTED_PROXIES`: address ranges, separated by commas.
    var trustedProxies: [AddressRange]
    var identity: IdentitySettings
    /// Key `GATEHOUSE_STYTCH_HOSTS`: hosts besides stytch.com that identity providers may be reached at, for custom
    /// domains; separated by commas.
    var stytchHosts: [String]
    /// Key `GATEHOUSE_DNS_SERVERS`: name servers to ask for the records that prove domains, instead of the system's;
    /// `ADDRESS` or `ADDRESS:PORT` in IPv4, separated by commas.
    var nameServers: [NameServer]
    var registration: ClientRegistration.Settings
    /// Key `GATEHOUSE_REMEMBERED_GRANTS`: how many grants a node remembers as it last wrote them, so that their next
    /// refresh needs no read; about 700 bytes each. Default 16,384; 0 remembers none.
    var rememberedGrants: Int
    /// Key `GATEHOUSE_OUTBOUND_CA_FILE`: PEM file of certificates that are trusted beside the system's when clients'
    /// documents and keys are read.
    var outboundTrustRoots: String?
    /// Keys `GATEHOUSE_RATE_…`, one for each ``RateLimit``: `COUNT/SECONDS` or `off`.
    var rateLimits: RateLimitSettings
    /// Key `GATEHOUSE_LOG_FORMAT`: json (default) or text. Key `GATEHOUSE_LOG_LEVEL`, default info.
    var logFormat: LogFormat
    var logLevel: Logger.Level

    /// Whether this server may be what it is in development only: plain http, Stytch's test projects, loopback upstreams.
    var isDevelopment: Bool { publicURL.hasPrefix("http://") }
}

/// What only `migrate` needs.
struct MigrationConfiguration: Sendable {
    /// Key `DATABASE_OWNER_URL`.
    var ownerURL: String
    /// Key `DATABASE_ADMIN_URL`, for `--create-roles` only.
    var adminURL: String?
    /// Passwords in the three URLs, which the roles are given.
    var passwords: [DatabaseRole: String]
}

/// Everything that is wrong with the settings, together.
struct ConfigurationProblems: Error, CustomStringConvertible {
    let problems: [String]

    var description: String {
        (["The settings cannot be used:"] + problems.map { "  - \($0)" }).joined(separator: "\n")
    }

    /// What a shell sees: EX_CONFIG.
    static let exitCode = ExitCode(78)
}

/// Reads settings by name and collects what is wrong with them.
struct SettingsReader {
    private let config: ConfigReader
    private(set) var problems: [String] = []

    /// - Throws: ``ConfigurationProblems`` when the file cannot be read.
    init(file: String?) async throws {
        var providers: [any ConfigProvider] = [EnvironmentVariablesProvider()]
        if let file {
            do {
                providers.append(try await FileProvider<YAMLSnapshot>(filePath: FilePath(file)))
            } catch {
                throw ConfigurationProblems(problems: ["\(file) is not a readable YAML file of settings."])
            }
        }
        config = ConfigReader(providers: providers)
    }

    /// A setting, or the content of the file named by `NAME_FILE`.
    mutating func text(_ name: String) -> String? {
        if let value = value(name), !value.isEmpty { return value }
        guard let path = value(name + "_FILE"), !path.isEmpty else { return nil }
        do {
            return try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            problems.append("\(name)_FILE: \(path) cannot be read.")
            return nil
        }
    }

    /// The setting itself, never a file's content.
    func value(_ name: String) -> String? {
        // The environment has one flat name; a YAML file has the same in lower case.
        config.string(forKey: ConfigKey([name])) ?? config.string(forKey: ConfigKey([name.lowercased()]))
    }

    mutating func required(_ name: String, _ hint: String) -> String? {
        if let value = text(name) { return value }
        problems.append("\(name) is missing: \(hint)")
        return nil
    }

    mutating func number(_ name: String, default standard: Int, in range: ClosedRange<Int>) -> Int {
        guard let value = text(name) else { return standard }
        guard let number = Int(value), range.contains(number) else {
            problems.append("\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound).")
            return standard
        }
        return number
    }

    mutating func flag(_ name: String) -> Bool {
        switch text(name)?.lowercased() {
        case nil, "false", "0", "no": return false
        case "true", "1", "yes": return true
        default:
            problems.append("\(name) must be true or false.")
            return false
        }
    }

    mutating func complain(_ problem: String) {
        problems.append(problem)
    }

    /// - Throws: ``ConfigurationProblems`` if anything was wrong.
    func finish() throws {
        if !problems.isEmpty { throw ConfigurationProblems(problems: problems) }
    }
}

extension ServerConfiguration {
    /// - Throws: ``ConfigurationProblems`` with everything that is wrong.
    static func read(file: String?) async throws -> ServerConfiguration {
        var reader = try await SettingsReader(file: file)
        let publicURL = publicURL(&reader)
        let database = reader.required("DATABASE_URL", "the connection string of role gatehouse_app.") ?? ""
        let sequencer =
            reader.required("DATABASE_SEQUENCER_URL", "the connection string of role gatehouse_sequencer.") ?? ""
        let redis = redis(&reader)
        let keys = masterKeys(&reader)
        let certificate = reader.value("GATEHOUSE_TLS_CERT")
        let key = reader.value("GATEHOUSE_TLS_KEY")
        if (certificate == nil) != (key == nil) {
            reader.complain("GATEHOUSE_TLS_CERT and GATEHOUSE_TLS_KEY go together.")
        }
        let proxies = proxies(&reader)
        let identity = identity(&reader, publicURL)
        let hosts = (reader.text("GATEHOUSE_STYTCH_HOSTS") ?? "").split(separator: ",").map {
            $0.trimmingCharacters(in: .whitespaces).lowercased()
        }
        let nameServers = nameServers(&reader)
        var registration = ClientRegistration.Settings()
        registration.quota = reader.number(
            "GATEHOUSE_REGISTRATION_QUOTA", default: registration.quota, in: 1...100_000_000)
        let rememberedGrants = reader.number("GATEHOUSE_REMEMBERED_GRANTS", default: 16_384, in: 0...10_000_000)
        let outboundTrustRoots = reader.value("GATEHOUSE_OUTBOUND_CA_FILE")
        if let file = outboundTrustRoots, !FileManager.default.isReadableFile(atPath: file) {
            reader.complain("GATEHOUSE_OUTBOUND_CA_FILE: \(file) cannot be read.")
        }
        let rateLimits = rateLimits(&reader, registrationQuota: registration.quota)
        let port = reader.number(
            "GATEHOUSE_PORT", default: reader.number("OAUTH_PORT", default: 8001, in: 0...65_535), in: 0...65_535)
        let internalPort = reader.number("GATEHOUSE_INTERNAL_PORT", default: 9464, in: 0...65_535)
        let requestTimeout = reader.number("GATEHOUSE_CONNECTION_TIMEOUT_SECONDS", default: 30, in: 1...300)
        let mostConnections = reader.number("GATEHOUSE_MAX_CONNECTIONS", default: 10_000, in: 1...1_000_000)
        let (format, level) = logging(&reader)
        var settings = PostgresSettings(conninfo: database)
        settings.readConnections = reader.number("GATEHOUSE_DATABASE_READ_CONNECTIONS", default: 2, in: 1...16)
        settings.writeConnections = reader.number("GATEHOUSE_DATABASE_WRITE_CONNECTIONS", default: 2, in: 1...16)
        settings.pinnedConnections = reader.number("GATEHOUSE_DATABASE_PINNED_CONNECTIONS", default: 4, in: 1...64)
        try reader.finish()
        guard let redis, let masterKey = keys.first else { throw ConfigurationProblems(problems: []) }
        return ServerConfiguration(
            publicURL: publicURL, host: reader.value("GATEHOUSE_HOST") ?? "127.0.0.1", port: port,
            internalHost: reader.value("GATEHOUSE_INTERNAL_HOST") ?? "127.0.0.1", internalPort: internalPort,
            requestTimeout: requestTimeout, mostConnections: mostConnections,
            tls: certificate.flatMap { certificate in key.map { (certificate, $0) } }, database: settings,
            sequencer: PostgresSettings(conninfo: sequencer), redis: redis, masterKey: masterKey,
            olderMasterKeys: Array(keys.dropFirst()),
            trustedProxies: proxies,
            identity: identity, stytchHosts: hosts, nameServers: nameServers, registration: registration,
            rememberedGrants: rememberedGrants, outboundTrustRoots: outboundTrustRoots, rateLimits: rateLimits,
            logFormat: format, logLevel: level)
    }

    /// Plain http is for loopback: everywhere else tokens would travel in the clear.
    private static func publicURL(_ reader: inout SettingsReader) -> String {
        let url = reader.text("GATEHOUSE_URL") ?? reader.text("OAUTH_BASE_URL") ?? "http://localhost:8001"
        let trimmed = url.hasSuffix("/") ? String(url.dropLast()) : url
        guard let parsed = ResourceURI(trimmed), parsed.canonical == trimmed, !trimmed.contains("?") else {
            reader.complain(
                "GATEHOUSE_URL must be an absolute URL in lower case, without default port, query or trailing slash.")
            return trimmed
        }
        if parsed.scheme == "http", !parsed.isLoopback {
            reader.complain("GATEHOUSE_URL must be https: plain http is accepted on localhost only.")
        }
        return trimmed
    }

    private static func redis(_ reader: inout SettingsReader) -> RedisSettings? {
        guard let url = reader.required("REDIS_URL", "such as redis://127.0.0.1:6379.") else { return nil }
        do {
            return try RedisSettings(url: url)
        } catch {
            reader.complain("REDIS_URL is not a redis://, rediss:// or unix:// URL.")
            return nil
        }
    }

    /// The current key first.
    private static func masterKeys(_ reader: inout SettingsReader) -> [MasterKey] {
        let hint = "the name of a file with 32 random bytes in hex or base64 (openssl rand -hex 32)."
        guard let path = reader.value("GATEHOUSE_MASTER_KEY_FILE") else {
            reader.complain("GATEHOUSE_MASTER_KEY_FILE is missing: \(hint)")
            return []
        }
        func load(_ path: String) -> MasterKey? {
            do {
                return try MasterKey(file: path)
            } catch {
                let problem =
                    switch error {
                    case .unreadable: "cannot be read"
                    case .malformed: "does not hold 32 bytes in hex or base64"
                    case .predictable: "holds a key that anybody could guess"
                    }
                reader.complain("The master key file \(path) \(problem); make one with openssl rand -hex 32.")
                return nil
            }
        }
        let older = (reader.value("GATEHOUSE_OLDER_MASTER_KEY_FILES") ?? "").split(separator: ",").map(String.init)
        return ([path] + older).compactMap(load)
    }

    private static func proxies(_ reader: inout SettingsReader) -> [AddressRange] {
        (reader.text("GATEHOUSE_TRUSTED_PROXIES") ?? "").split(separator: ",").compactMap { text in
            let range = AddressRange(text.trimmingCharacters(in: .whitespaces))
            if range == nil { reader.complain("GATEHOUSE_TRUSTED_PROXIES: \(text) is not an address range.") }
            return range
        }
    }

    private static func nameServers(_ reader: inout SettingsReader) -> [NameServer] {
        let texts = (reader.text("GATEHOUSE_DNS_SERVERS") ?? "").split(separator: ",")
        if texts.count > 3 { reader.complain("GATEHOUSE_DNS_SERVERS: at most three are asked.") }
        return texts.compactMap { text in
            let server = NameServer(text.trimmingCharacters(in: .whitespaces))
            if server == nil {
                reader.complain("GATEHOUSE_DNS_SERVERS: \(text) is not an IPv4 address or ADDRESS:PORT.")
            }
            return server
        }
    }

    private static func rateLimits(_ reader: inout SettingsReader, registrationQuota: Int) -> RateLimitSettings {
        var settings = RateLimitSettings()
        // One source may use up a tenth of the quota in an hour.
        settings[.registerSource] = Rate(registrationQuota / 10, per: 3_600)
        for limit in RateLimit.allCases {
            guard let text = reader.text(limit.setting) else { continue }
            if text.lowercased() == "off" {
                settings[limit] = nil
            } else if let rate = Rate(text) {
                settings[limit] = rate
            } else {
                reader.complain(
                    "\(limit.setting) must be COUNT/SECONDS, such as \(limit.standard.count)/\(limit.standard.seconds), or off: "
                        + "at most a day, and at most a million a second.")
            }
        }
        return settings
    }

    private static func identity(_ reader: inout SettingsReader, _ publicURL: String) -> IdentitySettings {
        var settings = IdentitySettings()
        let isDevelopment = publicURL.hasPrefix("http://")
        settings.allowTestProjects = reader.flag("GATEHOUSE_STYTCH_ALLOW_TEST_PROJECTS") || isDevelopment
        settings.stytchBaseURL = reader.text("GATEHOUSE_STYTCH_BASE_URL")
        if let base = settings.stytchBaseURL {
            if ResourceURI(base)?.isLoopback != true {
                reader.complain(
                    "GATEHOUSE_STYTCH_BASE_URL is for a stand-in on this machine; it must be a loopback URL.")
            } else if ResourceURI(publicURL)?.isLoopback != true {
                reader.complain(
                    "GATEHOUSE_STYTCH_BASE_URL is for development: GATEHOUSE_URL must then be on localhost.")
            }
        }
        return settings
    }

    private static func logging(_ reader: inout SettingsReader) -> (LogFormat, Logger.Level) {
        let format = reader.text("GATEHOUSE_LOG_FORMAT") ?? "json"
        let level = reader.text("GATEHOUSE_LOG_LEVEL") ?? "info"
        if LogFormat(rawValue: format) == nil { reader.complain("GATEHOUSE_LOG_FORMAT must be json or text.") }
        if Logger.Level(rawValue: level) == nil {
            reader.complain("GATEHOUSE_LOG_LEVEL must be trace, debug, info, notice, warning, error or critical.")
        }
        return (LogFormat(rawValue: format) ?? .json, Logger.Level(rawValue: level) ?? .info)
    }
}

extension MigrationConfiguration {
    static func read(file: String?, createsRoles: Bool) async throws -> MigrationConfiguration {
        var reader = try await SettingsReader(file: file)
        let owner = reader.required("DATABASE_OWNER_URL", "the connection string of role gatehouse_owner.") ?? ""
        let admin =
            createsRoles
            ? reader.required("DATABASE_ADMIN_URL", "--create-roles needs the connection string of a superuser.") : nil
        var passwords: [DatabaseRole: String] = [:]
        let names: [DatabaseRole: String] = [
            .owner: "DATABASE_OWNER_URL", .app: "DATABASE_URL", .sequencer: "DATABASE_SEQUENCER_URL",
        ]
        for (role, name) in names {
            guard let url = reader.text(name), let password = URLComponents(string: url)?.password else { continue }
            passwords[role] = password
        }
        try reader.finish()
        return MigrationConfiguration(ownerURL: owner, adminURL: admin, passwords: passwords)
    }
}
