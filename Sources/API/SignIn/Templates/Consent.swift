extension Templates {
    /// Page two: what the client may do if the person agrees.
    static let consent = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <div class="ask"><span class="initial" aria-hidden="true">{{client.initial}}</span>
        {{#mayAllow}}
        <h1>Allow <bdi>{{client.name}}</bdi> to use <bdi>{{resourceName}}</bdi>?</h1>
        {{/mayAllow}}
        {{^mayAllow}}
        <h1><bdi>{{client.name}}</bdi> cannot use <bdi>{{resourceName}}</bdi></h1>
        {{/mayAllow}}
        </div>
        {{>asking}}
        <form method="post" action="{{action}}">
        <input type="hidden" name="csrf_token" value="{{csrfToken}}">
        <div aria-live="polite">{{#problem}}<p class="problem" id="problem" role="alert">{{.}}</p>{{/problem}}</div>
        {{#mayAllow}}
        <section aria-labelledby="granted">
        <h2 id="granted">It will be able to</h2>
        <ul class="scopes">
        {{#scopes}}
        <li><span>{{text}}</span>{{#showsName}} <code>{{name}}</code>{{/showsName}}</li>
        {{/scopes}}
        {{#personal}}
        <li><span>{{.}}</span></li>
        {{/personal}}
        </ul>
        </section>
        {{/mayAllow}}
        {{#hasWithheld}}
        <section aria-labelledby="withheld">
        <h2 id="withheld">{{#mayAllow}}It asked for more and will not get it{{/mayAllow}}{{^mayAllow}}What it asked for{{/mayAllow}}</h2>
        <ul class="withheld">
        {{#withheld}}
        <li><code>{{.}}</code></li>
        {{/withheld}}
        </ul>
        <p class="hint">The policy of <bdi>{{organization}}</bdi> does not allow this for you. An administrator can change that.</p>
        </section>
        {{/hasWithheld}}
        {{#staysConnected}}
        <p class="hint">It stays connected while you are away, until you or an administrator end the connection.</p>
        {{/staysConnected}}
        <div class="decide">
        {{#mayAllow}}
        <button class="primary" type="submit" name="decision" value="allow">Allow</button>
        <button class="secondary" type="submit" name="decision" value="deny">Deny</button>
        {{/mayAllow}}
        {{^mayAllow}}
        <button class="primary" type="submit" name="decision" value="deny">{{#client.destination}}Go back to <bdi>{{client.name}}</bdi>{{/client.destination}}{{#client.userCode}}Close{{/client.userCode}}</button>
        {{/mayAllow}}
        </div>
        </form>
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
