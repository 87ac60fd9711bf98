import HTTPTypes
package import Hummingbird
import Keys
import NIOCore

/// Whether this node should get traffic, and what it looked at.
package struct ReadinessReport: Sendable {
    package struct Check: Sendable {
        package enum State: String, Sendable { case ok, warning, failed }

        /// Such as `postgres`.
        package let name: String
        package let state: State
        /// For operators; shown on the internal port alone.
        package let detail: String?

        package init(name: String, state: State, detail: String? = nil) {
            self.name = name
            self.state = state
            self.detail = detail
        }
    }

    package let checks: [Check]

    package init(checks: [Check]) {
        self.checks = checks
    }

    package var isReady: Bool { checks.allSatisfy { $0.state != .failed } }
}

/// The routes of the internal port: for probes and scrapers, never for the public.
package enum InternalAPI {
    /// - Parameters:
    ///   - readiness: asked on every `GET /readyz`.
    ///   - metrics: the exposition, in Prometheus' text format 0.0.4.
    package static func makeRouter(
        readiness: @escaping @Sendable () async -> ReadinessReport, metrics: @escaping @Sendable () -> String
    ) -> Router<BasicRequestContext> {
        let router = Router(context: BasicRequestContext.self)
        // Alive means: it answers. Whether its stores do is readiness; a restart would not bring them back.
        router.get("livez") { _, _ in
            text("ok\n", type: "text/plain; charset=utf-8")
        }
        router.get("readyz") { _, _ in
            let report = await readiness()
            let body = JSONWriter.object { json in
                json.bool("ready", report.isReady)
                json.object("checks") { json in
                    for check in report.checks {
                        json.object(check.name) { json in
                            json.string("state", check.state.rawValue)
                            if let detail = check.detail { json.string("detail", detail) }
                        }
                    }
                }
            }
            return Response.json(body, report.isReady ? .ok : .serviceUnavailable)
        }
        router.get("metrics") { _, _ in
            text(metrics(), type: "text/plain; version=0.0.4; charset=utf-8")
        }
        return router
    }

    private static func text(_ text: String, type: String) -> Response {
        Response(
            status: .ok, headers: [.contentType: type, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
