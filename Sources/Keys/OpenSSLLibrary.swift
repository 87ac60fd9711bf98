internal import COpenSSL

/// The OpenSSL of the system, which libpq uses as well.
package enum OpenSSLLibrary {
    /// Leaves it as it is when the process ends. By itself it frees what it holds at exit, while a thread of a connection may
    /// still be signing in with it: a start that is refused would then end by a crash. Called before anything uses it.
    package static func keepUntilEnd() {
        OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil)
    }
}
