internal import Glibc
internal import NIOPosix

/// Asks the system (`getaddrinfo`) on threads of its own, so that slow name servers block nobody else's work.
package let systemAddressResolver: AddressResolver = { host in
    try await resolverThreads.runIfActive { addresses(of: host) }
}

private let resolverThreads: NIOThreadPool = {
    let pool = NIOThreadPool(numberOfThreads: 8)
    pool.start()
    return pool
}()

/// The addresses in the order the system prefers (RFC 6724), none when the name has none or the look-up failed.
private func addresses(of host: String) -> [IPAddress] {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_ADDRCONFIG
    var first: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, nil, &hints, &first) == 0 else { return [] }
    defer { freeaddrinfo(first) }
    var found: [IPAddress] = []
    var next = first
    while let entry = next?.pointee {
        if let raw = UnsafeRawPointer(entry.ai_addr) {
            switch entry.ai_family {
            case AF_INET:
                let address = raw.loadUnaligned(as: sockaddr_in.self).sin_addr
                found.append(IPAddress(bytes: withUnsafeBytes(of: address) { Array($0) }))
            case AF_INET6:
                let address = raw.loadUnaligned(as: sockaddr_in6.self).sin6_addr
                found.append(IPAddress(bytes: withUnsafeBytes(of: address) { Array($0) }))
            default: break
            }
        }
        next = entry.ai_next
    }
    return found
}
