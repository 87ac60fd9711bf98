package import Foundation
package import Tenancy

/// What the browser is shown or sent to next. Everything a page says is decided here; how it looks is the HTTP room's.
package enum AuthorizationStep: Sendable {
    /// Page one: who asks, for what, and where the answer goes; takes the e-mail address, or goes on as who is signed in.
    case start(StartPage)
    /// Takes the code that was sent by mail.
    case code(CodePage)
    /// Takes the code that a device shows (RFC 8628 §3.3).
    case device(DevicePage)
    /// Page two: what the client may do if the person agrees.
    case consent(ConsentPage)
    /// A person's own connections.
    case connections(ConnectionsPage)
    /// Somewhere else: back to the client with a code or an error, or on to another page of ours. Always 303 after a POST (RFC 9700 §4.12).
    case redirect(ClientRedirect)
    /// The end of the road on a page of ours: nothing may be sent to the client, or a person has to act first.
    case message(MessagePage)
}

/// Who asks, as every page says it.
package struct RequestingClient: Sendable, Equatable {
    package let name: String
    /// Host of the metadata document, for clients that have one.
    package let documentHost: String?
    package let destination: Destination
    /// An administrator registered it by hand.
    package let isVerified: Bool

    /// Where the answer goes.
    package enum Destination: Sendable, Equatable {
        /// Host that gets it; for private-use schemes the scheme.
        case host(String)
        /// The redirect goes to this machine: any program on it may be the one that asks.
        case thisComputer(String)
        /// Some device shows this code and waits; whose it is, nobody here can see.
        case device(userCode: String)
    }

    package init(name: String, documentHost: String?, destination: Destination, isVerified: Bool) {
        self.name = name
        self.documentHost = documentHost
        self.destination = destination
        self.isVerified = isVerified
    }
}

package struct StartPage: Sendable, Equatable {
    package let transaction: String
    package let csrfToken: String
    /// nil where somebody signs in to see their own connections.
    package let client: RequestingClient?
    package let resourceName: String?
    package let resourceURI: String?
    /// Known when the issuer, the resource or the address decided it.
    package let organization: PageOrganization?
    /// Whoever is signed in to that organization in this browser.
    package let signedInAs: String?
    /// Organizations this browser may pick without typing.
    package let choices: [PageOrganization]
    /// Fills the e-mail field.
    package let emailHint: String?
    /// What was wrong with the last attempt.
    package let problem: String?
}

package struct PageOrganization: Sendable, Equatable {
    package let slug: String
    package let name: String
    /// How its pages look; nil where nothing but what somebody typed is known of it.
    package let brand: Brand?

    package struct Brand: Sendable, Equatable {
        package let organization: OrganizationID
        package let branding: Branding

        package init(organization: OrganizationID, branding: Branding) {
            self.organization = organization
            self.branding = branding
        }
    }

    package init(slug: String, name: String, brand: Brand? = nil) {
        self.slug = slug
        self.name = name
        self.brand = brand
    }
}

package struct CodePage: Sendable, Equatable {
    package let transaction: String
    package let csrfToken: String
    /// As on page one.
    package let client: RequestingClient?
    package let organization: PageOrganization
    package let email: String
    package let problem: String?
}

package struct DevicePage: Sendable, Equatable {
    package let csrfToken: String
    /// What was wrong with the last attempt.
    package let problem: String?
}

package struct ConsentPage: Sendable, Equatable {
    package let transaction: String
    package let csrfToken: String
    package let client: RequestingClient
    package let organization: PageOrganization
    package let account: String
    package let resourceName: String
    package let resourceURI: String
    /// What policy allows of what was asked, implied scopes included.
    package let scopes: [Resource.Scope]
    /// What it will be told about the person: OpenID Connect's words, in the order of ``OpenIDScope/all``.
    package let personalScopes: [String]
    /// Scopes that were asked for and that policy does not allow this person.
    package let withheld: [String]
    /// Where the answer goes, for the page's `form-action`: an origin, or a scheme with its colon; nil for a device.
    package let redirectTarget: String?
    /// The client wants to stay connected while the person is away.
    package let staysConnected: Bool
    /// What the person has to look at again.
    package var problem: String?
}

/// What somebody connected at one organization, and may end.
package struct ConnectionsPage: Sendable, Equatable {
    package struct Connection: Sendable, Equatable {
        package let grant: GrantID
        package let clientName: String
        /// Where the client's document is, or its answers went.
        package let clientHost: String?
        package let resourceName: String
        package let resourceURI: String?
        package let scopes: [Resource.Scope]
        package let since: Date
        package let lastUsed: Date
    }

    package let csrfToken: String
    package let organization: PageOrganization
    package let account: String
    /// The newest first.
    package let connections: [Connection]
    /// Others that this browser is signed in to.
    package let others: [PageOrganization]
    /// The name of the client whose connection was just ended.
    package let ended: String?
}

/// An authorization response (RFC 6749 §4.1.2), or the address of a page of ours, ready for `Location`.
package struct ClientRedirect: Sendable, Equatable {
    package let location: String

    package init(location: String) {
        self.location = location
    }
}

package struct MessagePage: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// Everything was done, and there is nowhere to send the person; 200.
        case done
        /// The request itself is wrong; 400.
        case badRequest
        /// The person may not, or not yet; 403.
        case refused
        /// A code or page was used, expired, or belongs to another browser; 400.
        case expired
        /// Something we need is away; 503.
        case unavailable
    }

    package let kind: Kind
    package let title: String
    /// One or two sentences: what happened.
    package let explanation: String
    /// What the reader can do now.
    package let advice: String
    /// An OAuth error code for developers, such as `invalid_request`.
    package let errorCode: String?
    /// A way back to a client that nobody vouches for: followed only when the person chooses to.
    package var wayBack: WayBack?

    package struct WayBack: Sendable, Equatable {
        package let host: String
        package let location: String
    }

    package init(kind: Kind, title: String, explanation: String, advice: String, errorCode: String? = nil) {
        self.kind = kind
        self.title = title
        self.explanation = explanation
        self.advice = advice
        self.errorCode = errorCode
    }
}

/// What the browser said about itself.
package struct BrowserContext: Sendable {
    /// Value of the browser-binding cookie, if it came.
    package let binding: String?
    /// Session cookies by organization: `ses_….secret`.
    package let sessions: [OrganizationID: String]
    /// The invitation this browser opened: `org_….secret`.
    package let invitation: String?
    /// Marks of earlier sign-ins by organization (``BrowserMarks``).
    package let marks: [OrganizationID: String]

    package init(
        binding: String?, sessions: [OrganizationID: String], invitation: String? = nil,
        marks: [OrganizationID: String] = [:]
    ) {
        self.binding = binding
        self.sessions = sessions
        self.invitation = invitation
        self.marks = marks
    }
}

/// A step, and the cookies that go with it.
package struct AuthorizationReply: Sendable {
    package let step: AuthorizationStep
    /// Set the browser-binding cookie to this value.
    package var setBinding: String?
    /// Set the session cookie of this organization to this value, for so long.
    package var setSession: (organization: OrganizationID, value: String, lifetime: Duration)?
    /// Set the mark of this organization to this value, for so long.
    package var setMark: (organization: OrganizationID, value: String, lifetime: Duration)?

    package init(_ step: AuthorizationStep) {
        self.step = step
    }
}
