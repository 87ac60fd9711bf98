/// The pages as mustache templates: kept as Swift text, so that the binary needs no files beside it.
///
/// Only `{{x}}` appears, which escapes; a test refuses `{{{x}}}` and `{{&x}}`. There is no script, no style attribute and no
/// picture from elsewhere on any page.
enum Templates {
    /// By the name that other templates and ``Pages`` know them by.
    static let all: [(name: String, template: String)] = [
        ("layout", layout), ("asking", asking), ("start", start), ("code", code), ("device", device),
        ("consent", consent), ("connections", connections),
        ("message", message), ("home", home), ("reference", reference),
    ]
}
