extension Templates {
    /// What somebody connected, each with the button that ends it.
    static let connections = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <h1>Your connections</h1>
        <p class="lead">Applications that may act for <bdi class="strong">{{account}}</bdi> at <bdi class="strong">{{organization}}</bdi>.</p>
        <div aria-live="polite">{{#ended}}<p class="note" role="status"><bdi>{{.}}</bdi> is disconnected. It may take some minutes to notice.</p>{{/ended}}</div>
        {{^hasConnections}}
        <p class="advice">Nothing is connected.</p>
        {{/hasConnections}}
        {{#connections}}
        <section class="connection" aria-labelledby="{{heading}}">
        <div class="ask"><span class="initial" aria-hidden="true">{{initial}}</span>
        <h2 id="{{heading}}"><bdi>{{client}}</bdi> at <bdi>{{resourceName}}</bdi></h2></div>
        <dl class="facts">
        {{#resourceURI}}<div><dt>Server</dt><dd class="address"><bdi>{{.}}</bdi></dd></div>
        {{/resourceURI}}
        {{#clientHost}}<div><dt>Application at</dt><dd class="address"><bdi>{{.}}</bdi></dd></div>
        {{/clientHost}}
        <div><dt>Connected</dt><dd><time datetime="{{sinceTime}}">{{since}}</time></dd></div>
        <div><dt>Last used</dt><dd><time datetime="{{lastUsedTime}}">{{lastUsed}}</time></dd></div>
        </dl>
        <ul class="scopes" aria-label="It may">
        {{#scopes}}
        <li><span>{{text}}</span>{{#showsName}} <code>{{name}}</code>{{/showsName}}</li>
        {{/scopes}}
        </ul>
        <form method="post" action="{{action}}">
        <input type="hidden" name="csrf_token" value="{{csrfToken}}">
        <input type="hidden" name="organization" value="{{slug}}">
        <input type="hidden" name="connection" value="{{grant}}">
        <button class="secondary" type="submit" aria-describedby="{{heading}}">Disconnect <bdi>{{client}}</bdi></button>
        </form>
        </section>
        {{/connections}}
        <nav class="foot" aria-label="Other organizations">
        {{#others}}
        <p><a href="{{address}}">Your connections at <bdi>{{name}}</bdi></a></p>
        {{/others}}
        <p><a href="{{anotherAddress}}">Sign in to another organization</a></p>
        </nav>
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
