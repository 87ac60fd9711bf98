extension Templates {
    /// Takes the code that a device shows.
    static let device = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <h1>Connect a device</h1>
        <p class="lead">Type the code that the device shows. Then sign in and decide what it may do.</p>
        <form method="post" action="{{action}}">
        <input type="hidden" name="csrf_token" value="{{csrfToken}}">
        <div aria-live="polite">{{#problem}}<p class="problem" id="problem" role="alert">{{.}}</p>{{/problem}}</div>
        <div class="field">
        <label for="user_code">Code on the device</label>
        <input class="code" id="user_code" name="user_code" type="text" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="20" placeholder="WDJB-MJHT" required autofocus{{#problem}} aria-invalid="true" aria-describedby="problem"{{/problem}}>
        </div>
        <button class="primary" type="submit">Continue</button>
        </form>
        <p class="foot">Use only a code from a device you have before you. Nobody who calls or writes to you needs one.</p>
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
