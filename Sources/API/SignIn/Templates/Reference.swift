extension Templates {
    /// The admin API, for whoever writes programs against it.
    static let reference = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <div class="reference">
        <h1>The admin API</h1>
        <p class="lead">Everything an administrator does, as JSON over HTTP below <code>{{base}}/v1</code>. For programs: <a href="{{documentURL}}">the same as OpenAPI 3.1</a>.</p>
        <p>Every call carries an admin key, <code>Authorization: Bearer gh_…</code>, or the access token of somebody with a role in the organization. It needs the scope that stands at the call; an organization's key reaches its own organization alone, and everything else answers 404. <code>{org}</code> is an organization's id or slug.</p>
        <p>Errors are problems (RFC 9457): <code>code</code> is for programs, <code>errors[].pointer</code> names the member that is wrong, <code>request_id</code> finds the call in the log. Lists take <code>limit</code> (1 to 200, else 50) and <code>cursor</code>. Every write takes <code>dry_run=true</code> and an <code>Idempotency-Key</code>, and answers with <code>Audit-Event</code>. A PATCH is a merge patch (RFC 7396).</p>
        <nav aria-label="Collections"><ul>
        {{#collections}}
        <li><a href="#{{name}}">{{name}}</a></li>
        {{/collections}}
        </ul></nav>
        {{#collections}}
        <section aria-labelledby="{{name}}">
        <h2 id="{{name}}">{{name}}</h2>
        {{#operations}}
        <details id="{{id}}">
        <summary><code class="method">{{method}}</code> <code>{{path}}</code><span>{{summary}}</span></summary>
        {{#details}}<p>{{.}}</p>
        {{/details}}
        <p>Scope <code>{{scope}}</code>. {{condition}}</p>
        {{#hasParameters}}
        <h3>Parameters</h3>
        <ul>
        {{#parameters}}
        <li><code>{{name}}</code> {{form}}</li>
        {{/parameters}}
        </ul>
        {{/hasParameters}}
        {{#hasRequest}}
        <h3>Request</h3>
        <pre tabindex="0"><code>{{#request}}{{.}}
        {{/request}}</code></pre>
        {{/hasRequest}}
        <h3>Reply: {{status}}</h3>
        {{#hasReply}}
        <pre tabindex="0"><code>{{#reply}}{{.}}
        {{/reply}}</code></pre>
        {{/hasReply}}
        <pre tabindex="0"><code>{{curl}}</code></pre>
        </details>
        {{/operations}}
        </section>
        {{/collections}}
        </div>
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
