import API
import ArgumentParser
import Audit
import ControlPlane
import CoreMetrics
import Foundation
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Keys
import Logging
import NIOCore
import NIOSSL
import Outbound
import Postgres
import Redis
import ServiceLifecycle
import Tenancy
import UnixSignals

/// `gatehouse serve`
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve OAuth, sign-in and the admin API.",
        discussion: """
            Listens on GATEHOUSE_HOST:GATEHOUSE_PORT (127.0.0.1:8001), and for probes and metrics on \
            GATEHOUSE_INTERNAL_HOST:GATEHOUSE_INTERNAL_PORT (127.0.0.1:9464: /livez /readyz /metrics). Stops gracefully on \
            SIGTERM: no new connections, open requests finish. Needs DATABASE_URL, DATABASE_SEQUENCER_URL, REDIS_URL and \
            GATEHOUSE_MASTER_KEY_FILE. Several processes may serve side by side with the same settings.
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var schema: MigrationOptions

    func run() async throws {
        let settings = try await reportingProblems { try await ServerConfiguration.read(file: options.config) }
        LoggingSystem.bootstrap { label in
            LineLogHandler(label: label, format: settings.logFormat, level: settings.logLevel)
        }
        let metrics = PrometheusMetrics()
        MetricsSystem.bootstrap(metrics)
        let logger = Logger(label: "gatehouse")
        try await checkDatabase(settings, logger)

        let services = try Services(settings, logger: logger)
        metrics.observe { gauges(of: services) }
        services.lanes.open()
        if try await services.administration.bootstrapPlatform(at: Date()) { logger.notice("made the platform") }
        do {
            _ = try await services.catalog.snapshot(of: .platform)
        } catch let error as SealError {
            throw CommandFailure(
                "The master key in GATEHOUSE_MASTER_KEY_FILE does not open what this database holds (\(error)): use the key "
                    + "it was made with, or name that one in GATEHOUSE_OLDER_MASTER_KEY_FILES.")
        }
        let application = try publicApplication(services, settings, logger)
        let probes = Application(
            router: InternalAPI.makeRouter(
                readiness: { await readiness(of: services) }, metrics: { metrics.exposition() }),
            configuration: ApplicationConfiguration(
                address: .hostname(settings.internalHost, port: settings.internalPort)),
            logger: logger)
        logger.notice("serving", metadata: ["url": "\(settings.publicURL)", "port": "\(settings.port)"])
        // Stopped in reverse: first the public port drains, then what it stood on.
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: ([services.lanes, services.redis] + services.limiterRedis
                    + [
                        services.catalog, services.sequencer, services.refusals, services.housekeeping,
                        services.operations, probes, application,
                    ])
                    .map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
        services.identityOutbound.shutdown()
        services.clientOutbound.shutdown()
        services.resourceOutbound.shutdown()
    }

    /// Refuses a schema older than this program, and roles that row-level security does not bind.
    private func checkDatabase(_ settings: ServerConfiguration, _ logger: Logger) async throws {
        let migrator = Migrator(
            directory: try MigrationFolder.find(schema.migrations), conninfo: settings.database.conninfo,
            logger: logger)
        for (connection, role) in [(settings.database, DatabaseRole.app), (settings.sequencer, .sequencer)] {
            let lane = PostgresReadLane(settings: connection, logger: logger)
            lane.start()
            do {
                try await patiently(logger) { try await ServingRole.check(lane, is: role) }
                if role == .app {
                    let state = try await migrator.state(over: lane)
                    guard state.isServable else {
                        throw CommandFailure(
                            "The database is at schema version \(state.databaseVersion), this program needs "
                                + "\(state.directoryVersion): run gatehouse migrate first.")
                    }
                }
                await lane.shutdown(within: .zero)
            } catch {
                await lane.shutdown(within: .zero)
                throw error
            }
        }
    }

    /// Gives a database that is just starting fifteen seconds.
    private func patiently(_ logger: Logger, _ ask: () async throws -> Void) async throws {
        let deadline = ContinuousClock.now + .seconds(15)
        var isFirst = true
        while true {
            do {
                return try await ask()
            } catch let error as PostgresError where error.kind == .unavailable || error.kind == .timedOut {
                guard ContinuousClock.now < deadline else {
                    throw CommandFailure(
                        "PostgreSQL did not let this program in for 15 seconds; the log says why. On a new database run "
                            + "gatehouse migrate --create-roles first.")
                }
                if isFirst {
                    logger.warning(
                        "waiting for PostgreSQL; on a new database run gatehouse migrate --create-roles first")
                    isFirst = false
                }
                try await Task.sleep(for: .milliseconds(250))
            }
        }
    }

    private func publicApplication(
        _ services: Services, _ settings: ServerConfiguration, _ logger: Logger
    ) throws -> any Service {
        let router = try makeRouter(services: services.api)
        OpenFiles.makeRoom(forConnections: settings.mostConnections, logger)
        let configuration = ApplicationConfiguration(
            address: .hostname(settings.host, port: settings.port),
            availableConnectionsDelegate: .maximum(settings.mostConnections, logger: logger))
        // A connection that says nothing, or only a part of a request, is not kept (slow clients hold no thread, but memory).
        let patience = TimeAmount.seconds(Int64(settings.requestTimeout))
        let plain = HTTPServerBuilder { responder in
            OnOwnLoop(
                HTTP1Channel(
                    responder: responder,
                    configuration: .init(
                        additionalChannelHandlers: [RequestDeadline(patience)], idleTimeout: patience)))
        }
        guard let tls = settings.tls else {
            return Application(router: router, server: plain, configuration: configuration, logger: logger)
        }
        let chain = try NIOSSLCertificate.fromPEMFile(tls.certificate).map { NIOSSLCertificateSource.certificate($0) }
        let key = try NIOSSLPrivateKey(file: tls.key, format: .pem)
        return try Application(
            router: router,
            server: .tls(
                plain, tlsConfiguration: .makeServerConfiguration(certificateChain: chain, privateKey: .privateKey(key))
            ),
            configuration: configuration, logger: logger)
    }
}

/// Prints what is wrong with the settings and exits as configuration errors do.
func reportingProblems<Value>(_ read: () async throws -> Value) async throws -> Value {
    do {
        return try await read()
    } catch let problems as ConfigurationProblems {
        FileHandle.standardError.write(Data("\(problems)\n".utf8))
        throw ConfigurationProblems.exitCode
    }
}

/// Whether this node should get traffic: the database answers and its clock agrees with ours.
private func readiness(of services: Services) async -> ReadinessReport {
    let before = Date()
    let redis = ReadinessReport.Check(
        name: "redis", state: services.redis.isConnected ? .ok : .warning,
        detail: services.redis.isConnected ? nil : "not connected: new sign-ins are refused, everything else goes on")
    let doors = [services.readLane.counters, services.writeLane.counters, services.pool.counters]
    guard doors.allSatisfy(\.isReady), let database = try? await services.database.databaseTime() else {
        return ReadinessReport(checks: [
            .init(name: "postgres", state: .failed, detail: "does not answer"), redis,
        ])
    }
    let now = Date()
    // The answer was made somewhere between asking and hearing.
    let skew = database < before ? before.timeIntervalSince(database) : max(0, database.timeIntervalSince(now))
    let clock = ReadinessReport.Check(
        name: "clock", state: skew > 5 ? .failed : skew > 1 ? .warning : .ok,
        detail: skew > 1 ? "differs from the database's by \(Int(skew)) s" : nil)
    return ReadinessReport(checks: [.init(name: "postgres", state: .ok), clock, redis])
}

/// Numbers that the rooms keep themselves.
private func gauges(of services: Services) -> [(name: String, labels: [(String, String)], value: Double)] {
    var all: [(name: String, labels: [(String, String)], value: Double)] = []
    let doors = [
        ("read", services.readLane.counters), ("write", services.writeLane.counters),
        ("pinned", services.pool.counters),
    ]
    for (door, counters) in doors {
        let numbers: [(String, Int)] = [
            ("postgres_statements_total", counters.statements), ("postgres_round_trips_total", counters.roundTrips),
            ("postgres_batches_total", counters.batches), ("postgres_batch_members_total", counters.batchMembers),
            ("postgres_largest_batch", counters.largestBatch), ("postgres_retries_total", counters.retries),
            ("postgres_lost_links_total", counters.lostLinks), ("postgres_queue_depth", counters.queueDepth),
            ("postgres_links_up", counters.linksUp),
        ]
        all += numbers.map { ($0.0, [("door", door)], Double($0.1)) }
    }
    let redis = services.redis.counters
    all.append(("redis_commands_total", [], Double(redis.commands)))
    all.append(("redis_flushes_total", [], Double(redis.flushes)))
    all.append(("redis_connects_total", [], Double(redis.connects)))
    all.append(("redis_timeouts_total", [], Double(redis.timeouts)))
    let limits = services.limiter.counters
    all += RateLimit.allCases.map {
        ("rate_limited_total", [("limit", $0.rawValue)], Double(limits.exceeded[$0] ?? 0))
    }
    all.append(("rate_limit_decided_locally_total", [], Double(limits.decidedHere)))
    all.append(("rate_limit_local_buckets", [], Double(limits.bucketsHere)))
    let sequencer = services.sequencer.status
    all.append(("audit_outbox_lag_seconds", [], sequencer.lag.seconds))
    all.append(("audit_sequenced_total", [], Double(sequencer.sequenced)))
    all.append(("audit_sequencer_shards", [], Double(sequencer.shards)))
    all.append(("audit_clock_steps_total", [], Double(sequencer.clockSteps)))
    return all
}
