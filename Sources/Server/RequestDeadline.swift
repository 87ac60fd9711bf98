import NIOCore

/// Ends connections whose client takes too long to send a request, however steadily it drips (slow POST), or to read
/// what it was answered (slow read).
///
/// The server's idle timeout counts from the last part of a request, so a head that never ends is cut by it; each piece
/// of a body starts it anew, which this bounds. For that it keeps no timer: a body that stops coming is idle.
final class RequestDeadline: ChannelDuplexHandler, RemovableChannelHandler {
    // Parts pass unread.
    typealias InboundIn = Never
    typealias OutboundIn = Never

    private let limit: TimeAmount
    /// When the request that is being read began; nil between requests.
    private var begun: NIODeadline?
    /// Runs while more was answered than the client reads.
    private var unread: Scheduled<Void>?

    init(_ limit: TimeAmount) {
        self.limit = limit
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let now = NIODeadline.now()
        if let begun {
            guard now - begun <= limit else { return context.close(promise: nil) }
        } else {
            begun = now
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // Answers are written when the request has been read, or need no more of it.
        begun = nil
        context.write(data, promise: promise)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            unread?.cancel()
            unread = nil
        } else if unread == nil {
            unread = context.eventLoop.assumeIsolated().scheduleTask(in: limit) { context.close(promise: nil) }
        }
        context.fireChannelWritabilityChanged()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        unread?.cancel()
    }
}
