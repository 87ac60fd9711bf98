import Audit
import Foundation
import Keys
import Postgres
package import Tenancy

/// What an administrator wants changed about how pages look.
package struct BrandingUpdate: Sendable {
    package var displayName = Patch<String>.keep
    package var accentColor = Patch<String>.keep
    package var accentColorDark = Patch<String>.keep
    /// A picture in base64.
    package var logo = Patch<String>.keep

    package init() {}
}

/// The colours of our pages that an accent has to stand out from, as the stylesheet has them.
package enum PageColors {
    package static let light = ["#ffffff", "#f4f5f2", "#e7f1ee"].compactMap { SRGBColor($0) }
    package static let dark = ["#1a1e1c", "#111413", "#1e312c"].compactMap { SRGBColor($0) }
    /// What text needs (WCAG 2.2 §1.4.3, level AA).
    package static let contrast = 4.5
}

extension Administration {
    /// Bytes of a logo.
    package static let largestLogo = 65_536

    package var brandings: BrandingStore { BrandingStore(database: database) }

    package func updateBranding(
        of organization: OrganizationID, _ update: BrandingUpdate, if condition: VersionCondition,
        by administrator: Administrator
    ) async throws -> Administered<Branding> {
        let named = try await self.organization(organization)
        return try await retryingLostUpdates(condition) {
            let old = try await brandings.find(organization)
            try condition.check(old.version)
            var checks = FieldChecks()
            var new = old
            new.displayName = update.displayName.applied(to: old.displayName)
            if case .set(let name) = update.displayName { checks.name(name, "/display_name") }
            new.accentLight = checks.accent(
                update.accentColor, was: old.accentLight, on: PageColors.light, "/accent_color")
            new.accentDark = checks.accent(
                update.accentColorDark, was: old.accentDark, on: PageColors.dark, "/accent_color_dark")
            var logo = BrandingStore.LogoChange.keep
            switch update.logo {
            case .keep: break
            case .clear: (logo, new.logo) = (.remove, nil)
            case .set(let text):
                if let picture = checks.logo(text, "/logo") {
                    new.logo = Branding.Logo(
                        format: picture.format, size: picture.bytes.count, digest: sha256(picture.bytes))
                    logo = .replace(picture.bytes)
                }
            }
            try checks.finish()
            let (wanted, change) = (new, logo)
            return try await administer(organization, by: administrator) { transaction in
                guard
                    let stored = try await brandings.update(
                        wanted, logo: change, of: organization, at: administrator.now, in: transaction)
                else { throw LostUpdate() }
                return AdminChange(
                    value: stored, type: .orgUpdated, target: named.auditTarget,
                    changes: .between(old.facts, stored.facts), isCached: true)
            }
        }
    }
}

extension Branding {
    fileprivate var facts: Facts {
        var facts: Facts = [:]
        facts["branding.display_name"] = .text(displayName)
        facts["branding.accent_color"] = .text(accentLight?.description)
        facts["branding.accent_color_dark"] = .text(accentDark?.description)
        facts["branding.logo"] = .text(logo.map { Base64URL.encode($0.digest) })
        return facts
    }
}

extension FieldChecks {
    /// A colour that can be read on every ground it comes to stand on.
    fileprivate mutating func accent(
        _ patch: Patch<String>, was old: SRGBColor?, on grounds: [SRGBColor], _ pointer: String
    ) -> SRGBColor? {
        guard case .set(let text) = patch else { return patch == .clear ? nil : old }
        guard let color = SRGBColor(text) else {
            require(false, pointer, "invalid", "A colour is # and six hexadecimal digits, such as #0f5f4f.")
            return old
        }
        let worst = grounds.min { color.contrast(with: $0) < color.contrast(with: $1) }
        if let worst, color.contrast(with: worst) < PageColors.contrast {
            // Rounded down: a ratio that reads 4.5 is one.
            let ratio = (color.contrast(with: worst) * 100).rounded(.down) / 100
            require(
                false, pointer, "low_contrast",
                "Links and buttons have to stand out by 4.5 to 1 (WCAG AA); on \(worst) this is \(ratio) to 1. A "
                    + (pointer.hasSuffix("dark") ? "lighter" : "darker") + " one does.")
        }
        return color
    }

    /// A picture of a format that holds nothing but a picture, told by its first bytes.
    fileprivate mutating func logo(
        _ text: String, _ pointer: String
    ) -> (format: Branding.Logo.Format, bytes: [UInt8])? {
        guard let data = Data(base64Encoded: text), !data.isEmpty else {
            require(false, pointer, "invalid", "A logo is the bytes of a picture in base64.")
            return nil
        }
        let bytes = Array(data)
        guard bytes.count <= Administration.largestLogo else {
            require(false, pointer, "too_large", "A logo has at most \(Administration.largestLogo) bytes.")
            return nil
        }
        guard let format = Branding.Logo.Format(of: bytes) else {
            require(false, pointer, "unknown_format", "A logo is PNG, JPEG or WebP.")
            return nil
        }
        return (format, bytes)
    }
}

extension Branding.Logo.Format {
    /// The format of a picture, by its first bytes.
    init?(of bytes: [UInt8]) {
        func has(_ expected: [UInt8], at place: Int) -> Bool { bytes.dropFirst(place).starts(with: expected) }
        if has([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], at: 0), has(Array("IHDR".utf8), at: 12) {
            self = .png
        } else if has([0xFF, 0xD8, 0xFF], at: 0) {
            self = .jpeg
        } else if has(Array("RIFF".utf8), at: 0), has(Array("WEBPVP8".utf8), at: 8) {
            self = .webp
        } else {
            return nil
        }
    }
}
