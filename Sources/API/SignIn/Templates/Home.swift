extension Templates {
    /// What this server is, for whoever opens its address.
    static let home = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <h1>You are at the gate</h1>
        <p class="lead">This server decides which AI applications may use an organization's MCP servers, for whom, and how far.</p>
        <p class="advice">There is nothing to sign in to here. Start in your AI application: add the address of your organization's MCP server and connect. It brings you here, you sign in with your organization, and you choose what it may do.</p>
        <p><a href="{{connectionsURL}}">See and end your connections</a></p>
        <section aria-labelledby="developers">
        <h2 id="developers">For developers</h2>
        <dl class="facts">
        <div><dt>Issuer</dt><dd class="address">{{publicURL}}</dd></div>
        <div><dt>Metadata</dt><dd class="address"><a href="{{metadataURL}}">oauth-authorization-server</a></dd></div>
        <div><dt>MCP servers</dt><dd class="address"><a href="{{resourcesURL}}">mcp-resources</a></dd></div>
        <div><dt>Admin API</dt><dd class="address"><a href="{{referenceURL}}">reference</a></dd></div>
        </dl>
        </section>
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
