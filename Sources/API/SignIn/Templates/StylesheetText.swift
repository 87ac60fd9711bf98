extension Templates {
    /// The one stylesheet: system font, light and dark, phone first.
    static let stylesheet = #"""
        :root {
          color-scheme: light dark;
          --ground: #f4f5f2; --card: #ffffff; --ink: #1a1d1b; --soft: #5a625d; --line: #dcdfd9; --field: #878f89;
          --accent: #0f5f4f; --accent-hover: #0b4a3e; --on-accent: #ffffff; --tint: #e7f1ee;
          --warn-ground: #fff4dc; --warn-line: #e5c67a; --warn-ink: #5b4300;
          --bad-ground: #fdecea; --bad-line: #eab3ad; --bad-ink: #8c1d13;
          --shadow: 0 1px 2px rgb(20 30 25 / .06), 0 12px 32px rgb(20 30 25 / .07);
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --ground: #111413; --card: #1a1e1c; --ink: #eceeec; --soft: #a5ada8; --line: #323835; --field: #737c77;
            --accent: #6fcab4; --accent-hover: #8ad8c5; --on-accent: #062019; --tint: #1e312c;
            --warn-ground: #2e2612; --warn-line: #6b5720; --warn-ink: #f1d998;
            --bad-ground: #351a17; --bad-line: #74342c; --bad-ink: #ffb9b0;
            --shadow: none;
          }
        }
        *, *::before, *::after { box-sizing: border-box; }
        html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
        body {
          margin: 0; min-height: 100vh; min-height: 100dvh; display: flex; flex-direction: column; align-items: center;
          background: var(--ground); color: var(--ink);
          font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
          overflow-wrap: anywhere;
        }
        .brand {
          width: 100%; max-width: 28rem; padding: 1rem 1.25rem .75rem; display: flex; align-items: center; gap: .5rem;
          color: var(--accent); font-weight: 650; letter-spacing: .01em;
        }
        .brand span { color: var(--ink); min-width: 0; }
        .brand small { display: block; font-weight: 400; }
        .brand img { flex: none; width: 2.5rem; height: 2.5rem; object-fit: contain; border-radius: .4rem; filter: drop-shadow(0 0 1px var(--soft)); }
        main {
          width: 100%; max-width: 28rem; flex: 1; padding: 1.5rem 1.25rem 2rem; background: var(--card);
          border-top: 1px solid var(--line);
        }
        @media (min-width: 30rem) {
          body { padding: clamp(1rem, 7vh, 5rem) 1rem 3rem; }
          .brand { padding: 0 .25rem .9rem; }
          main { flex: none; padding: 2rem 2rem 1.75rem; border: 1px solid var(--line); border-radius: 1rem; box-shadow: var(--shadow); }
        }
        h1 { margin: 0 0 .5rem; font-size: 1.45rem; line-height: 1.25; font-weight: 680; letter-spacing: -.012em; text-wrap: balance; }
        h2 { margin: 0 0 .5rem; font-size: .95rem; font-weight: 650; }
        p { margin: 0 0 .75rem; }
        a { color: var(--accent); text-underline-offset: .18em; }
        main a:not(.button) { display: inline-block; padding: .2rem 0; }
        code { font: .86em/1.4 ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
        small { font-size: .875rem; font-weight: 400; color: var(--soft); }
        .strong { font-weight: 650; color: var(--ink); }
        .lead { color: var(--soft); }
        .advice { color: var(--ink); }
        .hint { color: var(--soft); font-size: .9rem; margin: .4rem 0 0; }
        .foot { margin: 1.5rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .875rem; }
        .ask { display: flex; align-items: center; gap: .85rem; margin: 0 0 .75rem; }
        .ask h1 { margin: 0; min-width: 0; }
        .initial {
          display: grid; place-items: center; flex: none; width: 3rem; height: 3rem; border-radius: .8rem;
          background: var(--tint); color: var(--accent); font-size: 1.35rem; font-weight: 680;
        }
        .sign { display: grid; place-items: center; width: 3rem; height: 3rem; margin: 0 0 .9rem; border-radius: 50%; }
        .sign.good { background: var(--tint); color: var(--accent); }
        .sign.bad { background: var(--warn-ground); color: var(--warn-ink); }
        .facts { margin: 1rem 0; border: 1px solid var(--line); border-radius: .75rem; }
        .facts div { display: grid; grid-template-columns: 6.4rem 1fr; gap: .15rem .6rem; align-items: baseline; padding: .5rem .9rem; }
        .facts div + div { border-top: 1px solid var(--line); }
        .facts dt { color: var(--soft); font-size: .875rem; line-height: 1.6; }
        .facts dd { margin: 0; font-weight: 550; min-width: 0; }
        .facts .address { font-size: .875rem; font-weight: 500; line-height: 1.6; }
        .facts .user-code { font-size: 1.15rem; font-weight: 650; letter-spacing: .12em; font-variant-numeric: tabular-nums; }
        @media (max-width: 22rem) { .facts div { grid-template-columns: 1fr; } }
        .note { margin: 0 0 1.1rem; padding: .75rem .9rem; border-radius: .75rem; background: var(--tint); font-size: .9rem; }
        .note p { margin: 0; }
        .note.warning { background: var(--warn-ground); color: var(--warn-ink); border: 1px solid var(--warn-line); }
        .problem {
          margin: 0 0 1rem; padding: .75rem .9rem; border-radius: .75rem; background: var(--bad-ground);
          color: var(--bad-ink); border: 1px solid var(--bad-line); font-size: .95rem;
        }
        form { margin: 1.25rem 0 0; }
        section { margin: 1.25rem 0 0; }
        .field { margin: 0 0 1rem; }
        .field label { display: block; margin: 0 0 .35rem; font-weight: 600; font-size: .95rem; }
        input:is([type="text"], [type="email"]) {
          display: block; width: 100%; min-height: 2.9rem; padding: .55rem .8rem; font: inherit; color: inherit;
          background: var(--card); border: 1px solid var(--field); border-radius: .6rem;
        }
        input::placeholder { color: var(--soft); opacity: 1; }
        input[aria-invalid="true"] { border-color: var(--bad-ink); }
        input.code { font-size: 1.4rem; letter-spacing: .22em; font-variant-numeric: tabular-nums; }
        button, .button {
          display: inline-flex; align-items: center; justify-content: center; min-height: 2.9rem; padding: .55rem 1.1rem;
          font: inherit; font-weight: 620; text-align: center; text-decoration: none; border: 1px solid transparent;
          border-radius: .6rem; cursor: pointer; background: none; color: inherit;
          transition: background-color .12s ease, border-color .12s ease;
        }
        button.primary, button.secondary, .button { width: 100%; gap: .3em; flex-wrap: wrap; }
        button.primary { background: var(--accent); color: var(--on-accent); }
        button.primary:hover { background: var(--accent-hover); }
        button.secondary, .button.secondary { border-color: var(--field); color: var(--ink); }
        button.secondary:hover, .button.secondary:hover, button.quiet:hover { background: var(--tint); }
        button.quiet { padding: .4rem .6rem; color: var(--accent); font-weight: 560; }
        .row { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem; margin: .6rem -.6rem 0; }
        .decide { display: grid; gap: .7rem; margin: 1.5rem 0 0; }
        .decide > :only-child { grid-column: 1 / -1; }
        @media (min-width: 30rem) { .decide { grid-template-columns: 1fr 1fr; } }
        .other { margin: .9rem 0 0; }
        .other summary {
          min-height: 2.75rem; display: flex; align-items: center; justify-content: center; cursor: pointer;
          color: var(--accent); font-weight: 560; border-radius: .6rem; list-style: none;
        }
        .other summary::-webkit-details-marker { display: none; }
        .other[open] summary { margin-bottom: .5rem; }
        .choices { margin: 0 0 1rem; padding: 0; border: 0; min-width: 0; }
        .choices legend { padding: 0; margin: 0 0 .45rem; font-weight: 600; font-size: .95rem; }
        .choice {
          display: flex; align-items: center; gap: .7rem; min-height: 3rem; padding: .5rem .9rem; cursor: pointer;
          border: 1px solid var(--line);
        }
        .choice + .choice { border-top: 0; }
        .choice:first-of-type { border-radius: .6rem .6rem 0 0; }
        .choice:last-of-type { border-radius: 0 0 .6rem .6rem; }
        .choice:has(:checked) { background: var(--tint); }
        .choice input { width: 1.15rem; height: 1.15rem; margin: 0; accent-color: var(--accent); flex: none; }
        form:not(:has(#another:checked)) .typed { display: none; }
        .scopes, .withheld { margin: 0; padding: 0; list-style: none; }
        .scopes li { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .5rem; padding: .5rem 0 .5rem 1.9rem; position: relative; }
        .scopes li + li { border-top: 1px solid var(--line); }
        .scopes li::before {
          content: ""; position: absolute; left: .35rem; top: .8rem; width: .42rem; height: .8rem;
          border: solid var(--accent); border-width: 0 .16rem .16rem 0; transform: rotate(42deg);
        }
        .scopes code { color: var(--soft); }
        .connection + .connection { margin-top: 1.75rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
        .connection h2 { margin: 0; font-size: 1.1rem; }
        .connection .ask { margin: 0; }
        .connection form { margin: .9rem 0 0; }
        .withheld { display: flex; flex-wrap: wrap; gap: .4rem; }
        .withheld code { padding: .15rem .5rem; border: 1px solid var(--line); border-radius: .4rem; color: var(--soft); text-decoration: line-through; }
        main:has(.reference), body:has(.reference) .brand { max-width: 60rem; }
        .reference nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0; padding: 0; list-style: none; }
        .reference nav a { display: inline-block; padding: .3rem 0; }
        .reference h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
        .reference h3 { margin: 1rem 0 .35rem; font-size: .875rem; font-weight: 620; color: var(--soft); }
        .reference details { border-top: 1px solid var(--line); padding: 0 0 .25rem; }
        .reference details[open] { padding-bottom: 1rem; }
        .reference summary { min-height: 2.75rem; padding: .6rem 0; cursor: pointer; }
        .reference summary span { display: block; color: var(--soft); font-size: .9rem; }
        .reference .method { font-weight: 700; color: var(--accent); }
        .reference pre { margin: 0 0 .75rem; padding: .75rem .9rem; overflow-x: auto; border-radius: .6rem; background: var(--ground); }
        .reference pre code { overflow-wrap: normal; }
        :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
        .choice:has(:focus-visible) { outline: 3px solid var(--accent); outline-offset: -1px; }
        .choice input:focus-visible { outline: none; }
        @media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
        @media (forced-colors: active) { button, .button, .note, .problem { border: 1px solid; } .scopes li::before { border-color: CanvasText; } }
        """#
}
