extension Templates {
    /// The end of the road: what happened and what to do now.
    static let message = #"""
        {{<layout}}
        {{$content}}
        {{#page}}
        <div class="sign {{#isGood}}good{{/isGood}}{{^isGood}}bad{{/isGood}}" aria-hidden="true"><svg viewBox="0 0 24 24" width="26" height="26" focusable="false">{{#isGood}}<path fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round" d="M5 13l4.5 4.5L19 7.5"/>{{/isGood}}{{^isGood}}<path fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" d="M12 6v8M12 18v.01"/>{{/isGood}}</svg></div>
        <h1>{{heading}}</h1>
        <p class="lead">{{explanation}}</p>
        <p class="advice">{{advice}}</p>
        {{#wayBackLocation}}
        <p><a class="button secondary" href="{{.}}" rel="noreferrer">Go back to <bdi>{{wayBackHost}}</bdi></a></p>
        {{/wayBackLocation}}
        {{#requestID}}
        <p class="foot">{{#errorCode}}For developers: <code>{{.}}</code>. {{/errorCode}}If you ask somebody for help, mention request <code>{{.}}</code>.</p>
        {{/requestID}}
        {{/page}}
        {{/content}}
        {{/layout}}
        """#
}
