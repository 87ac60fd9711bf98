extension Templates {
    /// Around every page.
    static let layout = #"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta name="robots" content="noindex">
        <title>{{title}} · Gatehouse</title>
        <link rel="stylesheet" href="{{stylesheet}}">
        {{#icon}}<link rel="icon" href="{{.}}" type="image/svg+xml">{{/icon}}
        {{#brand}}{{#stylesheet}}<link rel="stylesheet" href="{{.}}">{{/stylesheet}}{{/brand}}
        </head>
        <body>
        <header class="brand">
        {{#brand}}
        {{#logo}}<img src="{{.}}" alt="" width="40" height="40">{{/logo}}
        <span><bdi>{{name}}</bdi><small><bdi>{{slug}}</bdi> through Gatehouse at {{host}}</small></span>
        {{/brand}}
        {{^brand}}
        <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" focusable="false"><path fill="currentColor" d="M3 21V8l3-2V3h2v2h3V3h2v2h3V3h2v3l3 2v13h-6v-5a3 3 0 0 0-6 0v5z"/></svg>
        <span>Gatehouse</span>
        {{/brand}}
        </header>
        <main>
        {{$content}}{{/content}}
        </main>
        </body>
        </html>
        """#

    /// Who asks, for what, and where the answer goes: on top of page one and of consent.
    static let asking = #"""
        {{#client.name}}<dl class="facts">
        {{#organization}}<div><dt>Organization</dt><dd><bdi>{{.}}</bdi></dd></div>
        {{/organization}}
        {{#account}}<div><dt>Your account</dt><dd><bdi>{{.}}</bdi></dd></div>
        {{/account}}
        {{#resourceURI}}<div><dt>Server</dt><dd class="address"><bdi>{{.}}</bdi></dd></div>
        {{/resourceURI}}
        {{#client.documentHost}}<div><dt>Published by</dt><dd class="address"><bdi>{{.}}</bdi></dd></div>
        {{/client.documentHost}}
        {{#client.destination}}<div><dt>Answer goes to</dt><dd class="address"><bdi>{{.}}</bdi></dd></div>
        {{/client.destination}}
        {{#client.userCode}}<div><dt>Code on the device</dt><dd class="user-code"><bdi>{{.}}</bdi></dd></div>
        {{/client.userCode}}
        </dl>{{/client.name}}
        {{#client.userCode}}
        <div class="note warning" role="note">
        <p><strong>Is the device before you?</strong> Go on only if you started this yourself, on a device you have before you, and it shows exactly this code. If somebody sent you the code or the link to this page, close it: they would be connected as you.</p>
        </div>
        {{/client.userCode}}
        {{#client.isLoopback}}
        <div class="note warning" role="note">
        <p><strong>Did you start this yourself?</strong> The answer goes to a program on this computer, and any program on it can call itself <bdi>{{client.name}}</bdi>. Go on only if you just connected from an application you trust.</p>
        </div>
        {{/client.isLoopback}}
        {{#client.isStranger}}
        <div class="note" role="note">
        <p><strong>Not verified.</strong> This application chose its own name. Check that the address above is one you expect.</p>
        </div>
        {{/client.isStranger}}
        """#
}
