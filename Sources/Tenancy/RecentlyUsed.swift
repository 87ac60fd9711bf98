/// A bounded dictionary that forgets what was not used lately.
///
/// Two generations: when the young one is half of the capacity it becomes the old one, and what the old one held and
/// nobody asked for is dropped. Constant time, no links between entries. So what is among the last `capacity / 2` different
/// keys asked for is always there.
package struct RecentlyUsed<Key: Hashable, Value> {
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]
    private let capacity: Int

    package init(capacity: Int) {
        self.capacity = max(2, capacity)
    }

    package mutating func value(of key: Key) -> Value? {
        if let value = young[key] { return value }
        guard let value = old.removeValue(forKey: key) else { return nil }
        insert(value, for: key)
        return value
    }

    package mutating func insert(_ value: Value, for key: Key) {
        old[key] = nil
        young[key] = value
        if young.count > capacity / 2 {
            old = young
            young = [:]
        }
    }

    package mutating func remove(_ key: Key) {
        young[key] = nil
        old[key] = nil
    }

    package func contains(_ key: Key) -> Bool {
        young[key] != nil || old[key] != nil
    }
}
