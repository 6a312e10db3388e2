// An HTML document that needs nothing else and lets nothing else in: what all pages begin with.

import { createHash } from 'node:crypto';

export interface DocumentParts {
  /** Safe as HTML. */
  title: string;
  css: string;
  /** Scripts that run, in their order. None: none may. */
  scripts?: readonly string[];
  /** HTML that stands in the body before the scripts. */
  body: string;
}

/** The page. Its policy names the hashes of its style and scripts, and forbids all others. */
export function documentOf({ title, css, scripts = [], body }: DocumentParts): string {
  const policy = [
    "default-src 'none'",
    ...(scripts.length > 0 ? [`script-src ${scripts.map(hashOf).join(' ')}`] : []),
    `style-src ${hashOf(css)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${css}</style>
</head>
<body>
${[body, ...scripts.map((script) => `<script>${script}</script>`)].join('\n')}
</body>
</html>
`;
}

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
