extension Templates {
    /// Takes the code from the mail. Says the same whether the address is known or not.
    static let code = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <h1>Check your mail</h1>
        <p class="lead">If <bdi class="strong">{{email}}</bdi> may sign in to <bdi class="strong">{{organization}}</bdi>, a code is on its way. It can take a minute.</p>
        <form method="post" action="{{action}}">
        <input type="hidden" name="csrf_token" value="{{csrfToken}}">
        <div aria-live="polite">{{#problem}}<p class="problem" id="problem" role="alert">{{.}}</p>{{/problem}}</div>
        <div class="field">
        <label for="code">Code from the mail</label>
        <input class="code" id="code" name="code" type="text" autocomplete="one-time-code" inputmode="numeric" autocapitalize="none" spellcheck="false" maxlength="12" required autofocus{{#problem}} aria-invalid="true" aria-describedby="problem"{{/problem}}>
        </div>
        <button class="primary" type="submit" name="action" value="continue">Continue</button>
        <div class="row">
        <button class="quiet" type="submit" name="action" value="resend" formnovalidate>Send a new code</button>
        <button class="quiet" type="submit" name="action" value="other_account" formaction="{{startAction}}" formnovalidate>Use another address</button>
        </div>
        </form>
        <p class="foot">{{#client.name}}You are connecting <bdi>{{.}}</bdi>. {{/client.name}}Never pass this code on: nobody else needs it.</p>
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
