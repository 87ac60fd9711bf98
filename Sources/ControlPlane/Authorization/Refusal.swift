import Audit
import Tenancy

/// Why an authorization ends here: on a page of ours, or at the client.
enum Refusal: Error {
    /// Nothing may be sent to the client. With an event where the catalogue asks for one.
    ///
    /// - Parameters:
    ///   - client: the `client_id` that was sent.
    ///   - reason: a word for the log, where the page's error code says too little.
    case page(MessagePage, event: AuditEventType? = nil, client: String? = nil, reason: String? = nil)
    /// The client may be told (RFC 6749 §4.1.2.1).
    case client(OAuthError, AddressedRequest)
}

extension MessagePage {
    static func malformed(_ explanation: String) -> MessagePage {
        MessagePage(
            kind: .badRequest, title: "This sign-in link is incomplete", explanation: explanation,
            advice:
                "Go back to the application and start again. If it happens again, tell its makers what this page says.",
            errorCode: "invalid_request")
    }

    static let unknownClient = MessagePage(
        kind: .badRequest, title: "We do not know this application",
        explanation:
            "The application that sent you here is not registered with this server, or its registration has ended.",
        advice: "Remove the connection in the application and add it again; it then registers anew.",
        errorCode: "invalid_client")

    static let foreignRedirect = MessagePage(
        kind: .badRequest, title: "This application asked for an answer at an address it did not register",
        explanation: "To protect you, nothing was sent there.",
        advice:
            "If you added this application yourself, remove the connection and add it again. If you did not expect this page, close it.",
        errorCode: "invalid_redirect_uri")

    /// The application is a document that cannot be used; its makers are told why.
    static func document(_ error: ClientDocumentError) -> MessagePage {
        MessagePage(
            kind: error.isTemporary ? .unavailable : .badRequest,
            title: "This application's description cannot be used",
            explanation: "The application goes by a URL, and what is published there does not describe it. "
                + error.explanation,
            advice: error.isTemporary
                ? "Wait a minute and connect again. If it lasts, tell the application's makers."
                : "Tell the application's makers what this page says. If you did not expect this page, close it.",
            errorCode: error.isTemporary ? "temporarily_unavailable" : "invalid_client")
    }

    static let tooManyApplications = MessagePage(
        kind: .unavailable, title: "Too many new applications are connecting",
        explanation: "This application is new here, and too many others came just before it. Nothing was changed.",
        advice: "Wait ten minutes and connect again.", errorCode: "temporarily_unavailable")

    static let expired = MessagePage(
        kind: .expired, title: "This page is no longer valid",
        explanation: "The sign-in was finished, took longer than ten minutes, or was started in another browser.",
        advice: "Go back to the application and connect again.")

    static let unavailable = MessagePage(
        kind: .unavailable, title: "We cannot sign you in right now",
        explanation: "A part of this service is not answering. Nothing was changed.",
        advice: "Wait a minute and try again.", errorCode: "temporarily_unavailable")

    static let providerUnavailable = MessagePage(
        kind: .unavailable, title: "Your organization's sign-in is not answering",
        explanation: "The identity provider of your organization did not answer. Other organizations are not affected.",
        advice: "Wait a minute, go back to the application and connect again. If it lasts, tell your administrator.",
        errorCode: "temporarily_unavailable")

    static let pendingLink = MessagePage(
        kind: .refused, title: "Your account is waiting for an administrator",
        explanation: "You proved who you are, but nobody in this organization has linked that to a user yet.",
        advice:
            "Ask an administrator of your organization to accept your sign-in or to send you an invitation, then connect again.",
        errorCode: "access_denied")

    static let disabled = MessagePage(
        kind: .refused, title: "You cannot sign in here",
        explanation: "Your account in this organization is disabled.",
        advice: "Ask an administrator of your organization.", errorCode: "access_denied")

    /// For somebody who signed in, and was shown both names before. The client's is set apart: it says what it likes.
    static func pending(_ client: Client, at organization: TenantSnapshot) -> MessagePage {
        let name = PageOrganization(organization).name
        return MessagePage(
            kind: .refused, title: "“\(client.name)” is waiting for approval",
            explanation:
                "\(name) approves new applications before anyone may connect with them. This one has been asked for.",
            advice: "Ask an administrator of \(name) to approve “\(client.name)”, then connect again.",
            errorCode: "access_denied")
    }

    static let clientDenied = MessagePage(
        kind: .refused, title: "Your organization does not allow this application",
        explanation: "An administrator decided that it may not be connected.",
        advice: "If you need it, ask an administrator of your organization.", errorCode: "access_denied")

    static let deviceConnected = MessagePage(
        kind: .done, title: "Your device is connected",
        explanation: "It notices by itself within a few seconds.",
        advice: "You can close this page and go on there.")

    static let deviceDeclined = MessagePage(
        kind: .done, title: "Nothing was connected",
        explanation: "The device was told that you declined.",
        advice: "You can close this page. If you did not start this, tell your administrator how you came by the code.")

    static let deviceExpired = MessagePage(
        kind: .expired, title: "This code is no longer valid",
        explanation: "It was answered before, or the device waited longer than ten minutes. Nothing was connected.",
        advice: "Start again on the device; it then shows a new code.")

    static let additionalFactor = MessagePage(
        kind: .refused, title: "Your organization asks for a second factor",
        explanation:
            "The code from your mail was right, but your organization's sign-in wants another proof that cannot be given here yet.",
        advice: "Ask an administrator which sign-in you can use for connected applications.", errorCode: "access_denied"
    )

    static func misconfigured(_ organization: String) -> MessagePage {
        MessagePage(
            kind: .unavailable, title: "Sign-in is not set up correctly",
            explanation:
                "Nobody can sign in at \(organization) yet: its identity provider is missing, or refuses this server.",
            advice:
                "An administrator of \(organization) can mend that: login.failed in its audit log names the reason.",
            errorCode: "temporarily_unavailable")
    }
}
