import Audit
import ControlPlane
import HTTPTypes
import Hummingbird
import Logging
import Tenancy

/// Renders every failure below it as a page that a person can act on.
struct PageErrorMiddleware: RouterMiddleware {
    let pages: Pages

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch is ForeignForm {
            return pages.message(
                MessagePage(
                    kind: .refused, title: "This form came from another site",
                    explanation: "To protect you, it was not accepted.",
                    advice: "Go back to the application and connect again."), to: context.request.id)
        } catch let error as HTTPError {
            return refusal(error, to: context.request.id)
        } catch let error as OAuthError where error.limit != nil {
            let page = MessagePage(
                kind: .unavailable, title: "That was a little fast",
                explanation: "More requests came from your network than we answer at a time. Nothing was changed.",
                advice: "Wait a minute and try again.", errorCode: error.code.rawValue)
            var response = pages.message(page, status: .tooManyRequests, to: context.request.id)
            if let limit = error.limit { response.headers.refuse(until: limit) }
            return response
        } catch let error as OAuthError where error.code == .invalidRequest {
            return pages.message(
                MessagePage(
                    kind: .badRequest, title: "This request cannot be read", explanation: error.description,
                    advice: "Go back to the application and start again.", errorCode: error.code.rawValue),
                to: context.request.id)
        } catch {
            let cause = (error as? OAuthError)?.cause ?? error
            context.logger.error("request failed", metadata: ["error": .string(String(reflecting: cause))])
            return pages.message(
                MessagePage(
                    kind: .unavailable, title: "We cannot answer right now",
                    explanation: "A part of this service is not answering. Nothing was changed.",
                    advice: "Wait a minute and try again.", errorCode: "temporarily_unavailable"),
                to: context.request.id)
        }
    }

    private func refusal(_ error: HTTPError, to request: Tenancy.RequestID) -> Response {
        let page =
            switch error.status {
            case .contentTooLarge:
                MessagePage(
                    kind: .badRequest, title: "That was too much",
                    explanation: "The form is larger than this page ever sends.",
                    advice: "Go back to the application and start again.")
            default:
                MessagePage(
                    kind: .badRequest, title: "There is nothing here",
                    explanation: "This address does not lead to a page of ours, or not any more.",
                    advice: "Go back to the application and check the address it connects to.")
            }
        var response = pages.message(page, status: error.status, to: request)
        response.headers.append(contentsOf: error.headers)
        return response
    }
}
