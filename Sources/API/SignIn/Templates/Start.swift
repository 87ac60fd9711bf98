extension Templates {
    /// Page one. Which button was pressed matters less than what was typed: an address always means to sign in with it, so
    /// that Enter in its field does the same as the button below it.
    static let start = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        {{#client.name}}
        <div class="ask"><span class="initial" aria-hidden="true">{{client.initial}}</span>
        <h1><bdi>{{.}}</bdi> wants to connect{{#resourceName}} to <bdi>{{.}}</bdi>{{/resourceName}}</h1></div>
        <p class="lead">Sign in to go on. You will see what it may do before anything is shared.</p>
        {{/client.name}}
        {{^client.name}}
        <h1>Your connections</h1>
        <p class="lead">Sign in to see which applications you connected, and to end what you no longer want.</p>
        {{/client.name}}
        {{>asking}}
        <form method="post" action="{{action}}">
        <input type="hidden" name="csrf_token" value="{{csrfToken}}">
        <div aria-live="polite">{{#problem}}<p class="problem" id="problem" role="alert">{{.}}</p>{{/problem}}</div>
        {{#signedInAs}}
        <button class="primary" type="submit" name="action" value="continue">Continue as <bdi>{{.}}</bdi></button>
        <details class="other"{{#problem}} open{{/problem}}>
        <summary>Use another account</summary>
        <div class="field">
        <label for="email">Work e-mail</label>
        <input id="email" name="email" type="email" autocomplete="email" inputmode="email" autocapitalize="none" spellcheck="false" maxlength="254" value="{{emailHint}}"{{#problem}} aria-invalid="true" aria-describedby="problem"{{/problem}}>
        </div>
        <button class="secondary" type="submit" name="action" value="other_account">Send me a code</button>
        </details>
        {{/signedInAs}}
        {{^signedInAs}}
        {{#hasChoices}}
        <fieldset class="choices">
        <legend>Your organization</legend>
        {{#choices}}
        <label class="choice"><input type="radio" name="organization" value="{{slug}}"{{#isFirst}} checked{{/isFirst}}><span><bdi>{{name}}</bdi> <small>{{slug}}</small></span></label>
        {{/choices}}
        <label class="choice"><input type="radio" name="organization" value="" id="another"><span>Another organization</span></label>
        </fieldset>
        <div class="field typed">
        <label for="organization">Its short name <small>(if your e-mail address alone is not enough)</small></label>
        <input id="organization" name="organization" type="text" autocomplete="organization" autocapitalize="none" spellcheck="false" maxlength="63">
        </div>
        <div class="field">
        <label for="email">Work e-mail <small>(leave empty to stay signed in)</small></label>
        <input id="email" name="email" type="email" autocomplete="email" inputmode="email" autocapitalize="none" spellcheck="false" maxlength="254" value="{{emailHint}}"{{#problem}} aria-invalid="true" aria-describedby="problem"{{/problem}}>
        </div>
        {{/hasChoices}}
        {{^hasChoices}}
        <div class="field">
        <label for="email">Work e-mail</label>
        <input id="email" name="email" type="email" autocomplete="email" inputmode="email" autocapitalize="none" spellcheck="false" maxlength="254" required placeholder="name@example.com" value="{{emailHint}}"{{#problem}} aria-invalid="true" aria-describedby="problem"{{/problem}}>
        </div>
        {{#asksOrganization}}
        <div class="field">
        <label for="organization">Organization <small>(optional)</small></label>
        <input id="organization" name="organization" type="text" autocomplete="organization" autocapitalize="none" spellcheck="false" maxlength="63" aria-describedby="organization-hint">
        <p class="hint" id="organization-hint">Its short name, such as <code>acme</code>, if your e-mail address alone is not enough.</p>
        </div>
        {{/asksOrganization}}
        {{/hasChoices}}
        <button class="primary" type="submit" name="action" value="continue">Continue</button>
        {{/signedInAs}}
        </form>
        {{#client.name}}
        <p class="foot">Did not expect this? Close the page; nothing has been shared.</p>
        {{/client.name}}
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
