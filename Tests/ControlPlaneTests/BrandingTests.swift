import Tenancy
import Testing

@testable import ControlPlane

@Suite("Branding") struct BrandingTests {
    @Test("AZ-15 a colour is six hexadecimal digits and nothing that could be more (CSS)")
    func spelling() {
        #expect(SRGBColor("#0f5F4f")?.description == "#0f5f4f")
        for text in ["", "#", "0f5f4f0", "#0f5f4", "#0f5f4f0", "#0f5f4g", "#+f5f4f", "#0f5f4f;", "＃0f5f4f", "#０f5f4"] {
            #expect(SRGBColor(text) == nil, "\(text)")
        }
    }

    @Test(
        "design §4 contrast is WCAG's: known pairs, either way round",
        arguments: [
            ("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#767676", "#ffffff", 4.54),
            ("#0f5f4f", "#ffffff", 7.6), ("#ff0000", "#ffffff", 4.0), ("#123456", "#123456", 1.0),
        ])
    func contrast(one: String, other: String, ratio: Double) throws {
        let (first, second) = (try #require(SRGBColor(one)), try #require(SRGBColor(other)))
        #expect(abs(first.contrast(with: second) - ratio) < 0.06)
        #expect(first.contrast(with: second) == second.contrast(with: first))
    }

    @Test("design §4 text on an accent that is allowed can be read, also under the pointer")
    func textOnAccents() {
        for value in stride(from: 0, through: 0xFFFFFF, by: 4_099) {
            let color = SRGBColor(
                red: UInt8(value >> 16 & 255), green: UInt8(value >> 8 & 255), blue: UInt8(value & 255))
            func isReadable(on grounds: [SRGBColor]) -> Bool {
                grounds.allSatisfy { color.contrast(with: $0) >= PageColors.contrast }
            }
            if isReadable(on: PageColors.light) {
                #expect(
                    color.contrast(with: .white) >= 4.5 && color.mixed(with: .black, 0.15).contrast(with: .white) >= 4.5
                )
            }
            if isReadable(on: PageColors.dark) {
                #expect(
                    color.contrast(with: .black) >= 4.5 && color.mixed(with: .white, 0.15).contrast(with: .black) >= 4.5
                )
            }
        }
    }
}
