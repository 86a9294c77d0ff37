// Colours policy text (Cedar) and cases (TOML). Everything is put in as text; nothing is ever treated as markup.
"use strict";
globalThis.highlight = (() => {
  const cedar = new RegExp([
    String.raw`(?<comment>\/\/[^\n]*)`, String.raw`(?<note>@[A-Za-z_]\w*)`, String.raw`(?<string>"(?:\\.|[^"\\\n])*"?)`,
    String.raw`(?<effect>\b(?:permit|forbid)\b)`, String.raw`(?<word>\b(?:when|unless|if|then|else|in|has|like|is|true|false)\b)`,
    String.raw`(?<root>\b(?:principal|action|resource|context)\b)`, String.raw`(?<place>\?\w+)`, String.raw`(?<kind>\b[A-Z]\w*(?=::))`, String.raw`(?<number>\b\d+\b)`,
  ].join("|"), "g");
  const toml = new RegExp([
    String.raw`(?<comment>#[^\n]*)`, String.raw`(?<string>"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?)`,
    String.raw`(?<effect>^[ \t]*\[\[?[^\]\n]*\]\]?)`, String.raw`(?<root>[A-Za-z0-9_.-]+(?=[ \t]*=))`, String.raw`(?<word>\b(?:true|false)\b)`, String.raw`(?<number>\b\d[\d_.]*\b)`,
  ].join("|"), "gm");
  const grammars = { cedar, toml };

  // Returns one element for each line, coloured.
  return (text, language) => {
    const lines = [];
    let line = document.createElement("span");
    const end = () => { lines.push(line); line = document.createElement("span"); };
    const put = (piece, look) => {
      piece.split("\n").forEach((part, at) => {
        if (at) end();
        if (!part) return;
        if (!look) { line.append(part); return; }
        const span = document.createElement("span");
        span.className = `t-${look}`;
        span.textContent = part;
        line.append(span);
      });
    };
    let done = 0;
    for (const match of text.matchAll(grammars[language])) {
      put(text.slice(done, match.index));
      put(match[0], Object.entries(match.groups).find(([, found]) => found !== undefined)[0]);
      done = match.index + match[0].length;
    }
    put(text.slice(done));
    end();
    return lines;
  };
})();
