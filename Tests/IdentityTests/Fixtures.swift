import Foundation
import Keys
import Tenancy
import TestSupport
import Testing

@testable import Identity

let noon = Date(timeIntervalSince1970: 1_800_000_000)

/// An organization that stands in no database.
func sampleOrganization() throws -> Organization {
    let id = OrganizationID.make(at: noon, .system)
    return Organization(
        id: id, slug: "sample", name: "Sample", status: .active,
        wrappedDataKey: try TestDatabase.secrets.makeDataKey(for: id), settings: OrganizationSettings(), version: 1,
        createdAt: noon, updatedAt: noon)
}

func sampleRecord(
    _ kind: IdentityProviderRecord.Kind, project: String = "project-test-11111111", upstream: String? = nil,
    baseURL: String? = nil, status: IdentityProviderRecord.Status = .active, sealedSecret: [UInt8]? = nil,
    id: IdentityProviderID = .make(at: noon, .system), authoritative: [String] = [], version: Int64 = 1
) -> IdentityProviderRecord {
    IdentityProviderRecord(
        id: id, kind: kind, name: "Stytch", status: status,
        configuration: .init(projectID: project, upstreamOrganization: upstream, baseURL: baseURL),
        sealedSecret: sealedSecret, authoritativeDomains: authoritative, version: version, createdAt: noon,
        updatedAt: noon)
}

func object(_ json: String) throws -> StytchObject {
    StytchObject(try #require(try JSONText.parse(Array(json.utf8), maximumDepth: 32).object))
}

/// What stops a start; nil when nothing does.
func refusal(of provider: any IdentityProvider, start email: String) async -> SignInError? {
    do {
        _ = try await provider.start(email: email)
        return nil
    } catch {
        return error
    }
}

/// What stops a code from being accepted; nil when it is.
func refusal(
    of provider: any IdentityProvider, _ challenge: SignInChallenge, code: String, at now: Date = Date()
) async -> SignInError? {
    do {
        _ = try await provider.finish(challenge, code: code, at: now)
        return nil
    } catch {
        return error
    }
}
