import HTTPTypes
import Hummingbird
import NIOCore

extension Response {
    /// JSON for whoever asked: nothing on the way may keep it (RFC 6749 §5.1).
    static func json(
        _ body: [UInt8], _ status: HTTPResponse.Status = .ok, type: String = "application/json"
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
}
