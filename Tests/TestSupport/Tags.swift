package import Testing

extension Tag {
    @Tag package static var token: Self
    @Tag package static var isolation: Self
    @Tag package static var audit: Self
    @Tag package static var admin: Self
    @Tag package static var race: Self
}
