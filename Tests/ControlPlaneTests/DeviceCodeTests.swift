import Foundation
import Keys
import Synchronization
import Testing

@testable import ControlPlane

@Suite struct DeviceCodeTests {
    @Test("DG-01 a user code is eight consonants, each as likely as any other (RFC 8628 §6.1)")
    func letters() {
        var counts: [Character: Int] = [:]
        for _ in 0..<5_000 {
            let shown = UserCode(.system).shown
            #expect(shown.wholeMatch(of: /[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}/) != nil)
            for letter in shown where letter != "-" { counts[letter, default: 0] += 1 }
        }
        #expect(counts.count == 20)
        // 2,000 of each expected, standard deviation 44; six of them are never seen.
        #expect(counts.values.allSatisfy { abs($0 - 2_000) < 264 })
    }

    @Test("DG-01 bytes beyond the last whole multiple of the alphabet are not used")
    func fairness() {
        let next = Mutex(UInt8(239))
        let random = RandomBytes { count in
            (0..<count).map { _ in
                next.withLock { byte in
                    byte = byte == 255 ? 0 : byte + 1
                    return byte
                }
            }
        }
        // 240 to 255 are skipped, so that the first letter drawn is the first of the alphabet.
        #expect(UserCode(random).shown == "BCDF-GHJK")
    }

    @Test(
        "DG-01 case, spaces and hyphens of a typed code do not matter; other letters do",
        arguments: [
            ("WDJB-MJHT", true), ("wdjbmjht", true), (" wd jb - mj ht ", true), ("WDJB-MJH", false),
            ("WDJB-MJHTB", false), ("WDJB-MJHA", false), ("WDJB-MJH1", false), ("", false), ("ＷDJB-MJHT", false),
            ("ſDJB-MJHT", false),
        ])
    func typed(text: String, isCode: Bool) {
        #expect((UserCode(typed: text)?.shown == "WDJB-MJHT") == isCode)
    }

    @Test("AZ-16 a device code has one spelling, and 256 random bits")
    func deviceCode() throws {
        let code = DeviceCode(.system)
        let text = code.secret.revealed
        #expect(text.hasPrefix("gd_") && text.utf8.count == 46)
        #expect(DeviceCode(text)?.digest == code.digest)
        for bad in [text + "A", String(text.dropLast()), "gc_" + text.dropFirst(3), text + "=", ""] {
            #expect(DeviceCode(bad) == nil)
        }
        #expect(Set((0..<1_000).map { _ in DeviceCode(.system).secret.revealed }).count == 1_000)
    }
}
