// swift-tools-version: 6.2
import Foundation
import PackageDescription

// Rooms in the order of their imports: a target may depend on any target below it, on none above it.

/// What every target of ours is compiled with.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// Of the rooms below HTTP: their asynchronous functions run where their caller does, so that calling one costs no switch
/// of executors (SE-0461). Hummingbird's protocols do not allow it above.
let hosted = strict + [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]

let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

let package = Package(
    name: "gatehouse",
    products: [
        .executable(name: "gatehouse", targets: ["Server"]),
        .executable(name: "stytch-sandbox", targets: ["StytchSandbox"]),
    ],
    dependencies: [
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .executableTarget(
            name: "Server",
            dependencies: [
                "API", "ControlPlane", "Identity", "Audit", "Tenancy", "Keys", "Outbound", "Postgres", "Redis",
                hummingbird, logging, metrics, lifecycle,
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Configuration", package: "swift-configuration"),
            ],
            swiftSettings: strict),
        .target(
            name: "API",
            dependencies: [
                "ControlPlane", "Audit", "Tenancy", "Keys", hummingbird, logging, metrics,
                .product(name: "Mustache", package: "swift-mustache"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .target(
            name: "ControlPlane",
            dependencies: [
                "Identity", "Audit", "Tenancy", "Keys", "Outbound", "Postgres", "Redis", logging, lifecycle,
            ],
            swiftSettings: hosted),
        .target(
            name: "Identity",
            dependencies: ["Audit", "Tenancy", "Keys", "Outbound", "Postgres"],
            swiftSettings: hosted),
        .target(
            name: "Audit",
            dependencies: ["Tenancy", "Keys", "Postgres", crypto, logging, lifecycle],
            swiftSettings: hosted),
        .target(
            name: "Tenancy",
            dependencies: ["Keys", "Postgres", logging, lifecycle],
            swiftSettings: hosted),
        .target(
            name: "Keys",
            dependencies: [
                "COpenSSL", crypto, .product(name: "CryptoExtras", package: "swift-crypto"),
            ],
            swiftSettings: hosted),
        .target(
            name: "Outbound",
            dependencies: [
                logging,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: hosted),
        .target(name: "Postgres", dependencies: ["CLibpq", crypto, logging], swiftSettings: hosted),
        .target(
            name: "Redis",
            dependencies: [
                "CHiredis", crypto, logging, lifecycle,
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ],
            swiftSettings: hosted),
        .systemLibrary(name: "CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),

        // Stytch's API for development and tests; never part of the product.
        .executableTarget(
            name: "StytchSandbox",
            dependencies: [
                hummingbird, logging, crypto, .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),

        .target(
            name: "TestSupport", dependencies: ["Tenancy", "Keys", "Postgres", logging], path: "Tests/TestSupport",
            swiftSettings: strict),
        .testTarget(name: "PostgresTests", dependencies: ["Postgres", logging], swiftSettings: strict),
        .testTarget(name: "RedisTests", dependencies: ["TestSupport", "Redis", logging], swiftSettings: strict),
        .testTarget(
            name: "OutboundTests",
            dependencies: [
                "Outbound", logging, .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(name: "KeysTests", dependencies: ["Keys", crypto], swiftSettings: strict),
        .testTarget(
            name: "TenancyTests", dependencies: ["TestSupport", "Audit", "Tenancy", "Postgres", "Keys", logging],
            swiftSettings: strict),
        .testTarget(
            name: "AuditTests",
            dependencies: ["Audit", "Tenancy", "Postgres", "Keys", crypto, logging, lifecycle],
            exclude: ["Fixtures"], swiftSettings: strict),
        .testTarget(
            name: "IdentityTests",
            dependencies: ["TestSupport", "Identity", "Audit", "Outbound", "Tenancy", "Keys", "Postgres", logging],
            swiftSettings: strict),
        .testTarget(
            name: "ControlPlaneTests",
            dependencies: [
                "TestSupport", "ControlPlane", "Audit", "Tenancy", "Keys", "Outbound", "Postgres", "Redis", logging,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "APITests",
            dependencies: [
                "TestSupport", "API", "ControlPlane", "Identity", "Audit", "Tenancy", "Keys", "Outbound", "Postgres",
                "Redis", hummingbird, crypto, logging, .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "HummingbirdTesting", package: "hummingbird"),
            ],
            swiftSettings: strict),
    ]
)
