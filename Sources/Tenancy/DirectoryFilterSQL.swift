import Postgres

/// Turns a directory's filter into SQL. Values are bound and never become text of a statement; attributes are a closed set.
struct DirectoryFilterSQL {
    let organization: OrganizationID
    let kind: Kind

    enum Kind { case users, groups }

    func condition(_ filter: DirectoryFilter) -> SQL {
        switch filter {
        case .all(let parts): join(parts, " AND ", empty: "true")
        case .either(let parts): join(parts, " OR ", empty: "false")
        case .not(let part): "(NOT coalesce(\(condition(part)), false))"
        case .compare(let attribute, let comparison, let value): compare(attribute, comparison, value)
        case .present(let attribute): present(attribute)
        case .element(let collection, let part): exists(collection, condition(part))
        case .nonEmpty(let collection): exists(collection, "true")
        }
    }

    /// What a list is sorted by.
    func order(_ attribute: DirectoryAttribute) -> SQL {
        attribute.collection == .emails ? "lower(u.email)" : expression(attribute)
    }

    private func join(_ parts: [DirectoryFilter], _ joint: SQL, empty: SQL) -> SQL {
        guard var all = parts.first.map(condition) else { return empty }
        for part in parts.dropFirst() { all = "\(all)\(joint)\(condition(part))" }
        return "(\(all))"
    }

    private func exists(_ collection: DirectoryAttribute.Collection, _ condition: SQL) -> SQL {
        switch collection {
        case .emails:
            """
            EXISTS (SELECT FROM jsonb_array_elements(
                CASE WHEN u.directory IS NOT NULL THEN coalesce(u.directory -> 'emails', '[]')
                     WHEN u.email IS NOT NULL
                     THEN jsonb_build_array(jsonb_build_object('value', u.email, 'primary', true))
                     ELSE '[]' END) AS e (value) WHERE \(condition))
            """
        case .groups:
            """
            EXISTS (SELECT FROM group_member m JOIN "group" x ON x.organization_id = m.organization_id
                                                             AND x.id = m.group_id
                     WHERE m.organization_id = \(organization) AND m.user_id = u.id AND \(condition))
            """
        case .members:
            """
            EXISTS (SELECT FROM group_member m WHERE m.organization_id = \(organization) AND m.group_id = g.id
                       AND \(condition))
            """
        }
    }

    /// As it is compared: texts that ignore case are in lower case.
    private func expression(_ attribute: DirectoryAttribute) -> SQL {
        let isUsers = kind == .users
        return switch attribute {
        case .id: isUsers ? "u.id" : "g.id"
        case .externalID: isUsers ? "u.external_id" : "g.external_id"
        case .userName: "lower(coalesce(u.user_name, u.email))"
        case .displayName: isUsers ? "lower(u.name)" : "lower(g.name)"
        case .active: "(u.status = 'active')"
        case .formattedName: "lower(u.directory -> 'name' ->> 'formatted')"
        case .familyName: "lower(u.directory -> 'name' ->> 'familyName')"
        case .givenName: "lower(u.directory -> 'name' ->> 'givenName')"
        case .middleName: "lower(u.directory -> 'name' ->> 'middleName')"
        case .honorificPrefix: "lower(u.directory -> 'name' ->> 'honorificPrefix')"
        case .honorificSuffix: "lower(u.directory -> 'name' ->> 'honorificSuffix')"
        case .email: "lower(e.value ->> 'value')"
        case .emailType: "lower(e.value ->> 'type')"
        case .emailDisplay: "lower(e.value ->> 'display')"
        case .emailPrimary: "coalesce((e.value ->> 'primary')::boolean, false)"
        case .group: "m.group_id"
        case .groupName: "lower(x.name)"
        case .member: "m.user_id"
        case .created: isUsers ? "u.created_at" : "g.created_at"
        case .lastModified: isUsers ? "u.updated_at" : "g.updated_at"
        }
    }

    private func present(_ attribute: DirectoryAttribute) -> SQL {
        switch attribute.kind {
        case .text, .exactText: "(\(expression(attribute)) <> '')"
        case .bool, .time, .id: "(\(expression(attribute)) IS NOT NULL)"
        }
    }

    private func compare(
        _ attribute: DirectoryAttribute, _ comparison: DirectoryFilter.Comparison, _ value: DirectoryFilter.Value
    ) -> SQL {
        let left = expression(attribute)
        switch value {
        case .text(let text):
            let right: SQL = attribute.kind == .exactText ? "\(text)" : "lower(\(text))"
            return compare(left, comparison, right)
        case .bool(let flag):
            return comparison == .ne ? "(\(left) <> \(flag))" : "(\(left) = \(flag))"
        case .time(let time):
            return compare(left, comparison, "\(time)")
        case .id(let id):
            guard let id else { return comparison == .ne ? "true" : "false" }
            return comparison == .ne ? "(\(left) <> \(id))" : "(\(left) = \(id))"
        }
    }

    private func compare(_ left: SQL, _ comparison: DirectoryFilter.Comparison, _ right: SQL) -> SQL {
        switch comparison {
        case .eq: "(\(left) = \(right))"
        case .ne: "(\(left) IS DISTINCT FROM \(right))"
        case .co: "(strpos(\(left), \(right)) > 0)"
        case .sw: "starts_with(\(left), \(right))"
        case .ew: "(right(\(left), char_length(\(right))) = \(right))"
        case .gt: "(\(left) > \(right))"
        case .ge: "(\(left) >= \(right))"
        case .lt: "(\(left) < \(right))"
        case .le: "(\(left) <= \(right))"
        }
    }
}
