import Foundation
import Testing

@testable import Keys

/// Bytes of hexadecimal text.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// Bytes of base64url text that a test knows to be well formed.
func base64URL(_ text: String) throws -> [UInt8] {
    try #require(Base64URL.decode(text))
}

/// A generator that gives the same bytes every time: 100, 101, 102 …
let countingBytes = RandomBytes { count in (0..<count).map { UInt8(100 + $0) } }

/// The `openssl` command in a folder of its own.
struct OpenSSLCommand: ~Copyable {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "keys-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    /// Runs the command in the folder and returns what it printed.
    /// - Throws: when it is not installed or fails; `apt-get install openssl` gives it.
    func run(_ arguments: String...) throws -> String {
        try run(arguments)
    }

    func run(_ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.currentDirectoryURL = folder
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "openssl \(arguments.joined(separator: " ")) failed")
        return String(decoding: data, as: UTF8.self)
    }

    func write(_ bytes: [UInt8], to name: String) throws {
        try Data(bytes).write(to: folder.appending(path: name))
    }
}

/// DER for keys that no tool would make.
enum DER {
    static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let length: [UInt8] =
            switch content.count {
            case ..<128: [UInt8(content.count)]
            case ..<256: [0x81, UInt8(content.count)]
            default: [0x82, UInt8(content.count >> 8), UInt8(content.count & 0xFF)]
            }
        return [tag] + length + content
    }

    static func integer(_ bigEndian: [UInt8]) -> [UInt8] {
        element(DERReader.integer, (bigEndian.first ?? 0) >= 0x80 ? [0] + bigEndian : bigEndian)
    }

    /// The integers of a PKCS#1 private key: version, n, e, d, p, q and the three CRT values.
    static func pkcs1Numbers(_ der: [UInt8]) throws -> [[UInt8]] {
        var outer = DERReader(der[...])
        let document = outer.read(DERReader.sequence)
        var body = DERReader(try #require(document))
        var numbers: [[UInt8]] = []
        while let number = body.read(DERReader.integer) {
            numbers.append([UInt8](number.count > 1 ? number.drop { $0 == 0 } : number))
        }
        return numbers
    }

    static func pkcs1PEM(_ numbers: [[UInt8]]) -> String {
        PEMBlock.encode(label: "RSA PRIVATE KEY", der: element(DERReader.sequence, numbers.flatMap(integer)))
    }
}
