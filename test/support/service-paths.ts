/** Words with blanks between. */
function words(text: string): string[] {
  return text.trim().split(/\s+/)
}

/** What may stand behind a route's public path, right and wrong: each letter is a byte. */
export const PATHS: Readonly<Record<string, readonly string[]>> = {
  plain: [
    ...words(`
      / /a /a/ /a/b/c /~user /a!$&'()*+,=:@b /a.b /.well-known/x /a-b_c /...a
    `),
    ...[''],
  ],
  query: [
    ...words(`
      ? ?a /?a=b&c=d /a?b=c /a?b?c /a?= /a?a&&b /a?a;b /a?a=%zz /a?a=% /a?../.. /a?x=/../canary /a?x=%2e%2e%2f
      /a?x=%00 /a?x=%0d%0aX:1 /a?x=http://canary/ /a?token=1 /a?key=1 /a?access_token=1 /a?code=1&state=2
      /a?my_api_key=1 /a?q=api_key
    `),
    ...['/a?\\'],
  ],
  'a key in the query': words(`
    /a?api_key=1 /a?API_KEY=1 /a?b=1&api-key=1 /a?apikey=1 /a?x-api-key=1 /a?%61pi_key=1 /a?b;api_key=1
    /a?api_key /a?api%5fkey=1
  `),
  dots: words(`
    /.. /../ /../canary /a/../../canary /../../canary /./../canary /..?x /a/.. /a/../ /. /./a /a/. /a/./b
    /a. /a./ /a... /.../canary /..../canary /..a /a.. /a..b
  `),
  'dots, encoded': words(`
    /%2e%2e/canary /%2E%2E/canary /%2e./canary /.%2e/canary /.%2E/canary /%2e /%2e/a /..%2fcanary
    /..%2Fcanary /%2e%2e%2fcanary /%2e%2e%2Fcanary /a%2f..%2f..%2fcanary /..%2e /a/%2e%2e /a%2f%2e%2e
    /%2e%2e /a/%2e%2e;x/canary
  `),
  'dots, encoded twice and more': words(`
    /%252e%252e/canary /%252e%252e%252fcanary /..%252fcanary /..%255ccanary /%252E%252E/canary
    /%25%32%65%25%32%65/canary /%25252e%25252e/canary /%2525252e%2525252e%2525252fcanary /a%25 /a%2525
    /%%32%65%%32%65/canary /a%25252525252525252525 /%32%65%32%65/canary
  `),
  'slashes and backslashes': [
    ...words(`
      // //canary ///canary /a//b /a// /%2f%2fcanary /%2fcanary /%2F /a%2fb %2fa %2f /a%5cb /..%5ccanary
      /..%5Ccanary /%5c%5ccanary /a%255cb /a%252fb //..//canary /a//../..//canary //@canary/ /http://canary/
      /http:%2f%2fcanary
    `),
    ...['/..\\canary', '\\..\\canary', '/a\\b', '\\', '/\\canary'],
  ],
  parameters: words(`
    /a;b /;a /a;b=c/d /a;/b ;a %3ba /..;/canary /..;a=b/canary /;/../canary /a;/../canary /..%3b/canary
    /..%3bx/canary /a%3b /;..;/canary /a;..;/canary /.;/a /a;../b
  `),
  'control bytes, encoded': words(`
    /%00 /a%00b %00 /..%00/canary /a%0ab /a%0db /a%0d%0aX-Evil:%201 /a%0d%0a%0d%0aGET%20/canary /a%09b /a%1b
    /a%7f /a%2500 /a%250d%250a /..%0d%0a/canary /..%09/canary /..%20/canary /%20 /a%20b /a%20 /%20/a /a+b
  `),
  'bytes as they are': [
    ...words(`
      /a#b # /a?b#c /a%23b /a%3fb /a%3F.. /a"b /a<b> /a^b /a{b} /a|b /a[b]
    `),
    ...[
      '/a b',
      '/a\tb',
      '/a\0b',
      '/a\x01b',
      '/a\x0bb',
      '/a\fb',
      '/a\x1bb',
      '/a\x7fb',
      '/a\rb',
      '/a\nb',
      '/a\r\nX: b',
      '/a`b',
    ],
  ],
  'beyond ASCII': [
    ...words(`
      /%c3%a9 /%E2%82%AC /%ff /%80 /%ef%bc%8e%ef%bc%8e/canary /%e2%80%a5/canary /..%ef%bc%8fcanary /%e2%80%ae
      /%ef%bb%bf /%f0%9f%98%80
    `),
    ...['/\xc3\xa9', '/\xff', '/a?\xc3\xa9'],
  ],
  'UTF-8 that is too long': words(`
    /%c0%ae%c0%ae/canary /%C0%AE%C0%AE/canary /..%c0%afcanary /..%c1%9ccanary /%e0%80%ae%e0%80%ae/canary
    /%f0%80%80%ae%f0%80%80%ae/canary /%c0%80 /%25c0%25ae%25c0%25ae/canary /..%e0%80%afcanary
  `),
  'a percent that is none': [
    ...words(`
      /a% /a%2 /a%zz /a%G0 /%u002e%u002e/canary /%uff0e%uff0e/canary /%-1
    `),
    ...['/% 20'],
  ],
  'next to the prefix': words(`
    2 .json - _ x/../a %20 %2e%2e .. /../.. /%2e%2e/%2e%2e . :80 @canary
  `),
  long: [
    `/${'a'.repeat(8000)}`,
    `/a?${'b'.repeat(8000)}`,
    '/a'.repeat(3000),
    `/${'../'.repeat(500)}canary`,
    `/${'a/'.repeat(1000)}${'../'.repeat(1001)}canary`,
    `/${'%2e%2e%2f'.repeat(500)}canary`,
    `/${'a'.repeat(20_000)}`,
  ],
}

/** Whole targets; `{p}` is the route's public path. */
export const TARGETS: readonly string[] = [
  ...words(`
    http://gateway{p}/a http://canary{p}/a https://canary{p}/a http://gateway@canary{p}/a http:{p}/a
    //canary{p}/a ///{p}/a /{p}/a /./{p}/a /.{p}/a /x/..{p}/a /..{p}/a /%2e{p}/a /%2e%2e{p}/a /%2f{p}/a *
    canary:80 ?{p}/a /?{p}/a a{p} ;{p}/a /;x{p}/a /canary /canary/..{p}/a http:// http:///{p}/a file://{p}
    javascript:{p}
  `),
  ...['\\{p}/a', '/\\{p}/a', '', '/ {p}/a', '/\t{p}/a', '/\0{p}/a'],
]

/** On the route that has another, shut one below it: how a lenient service might be led there. */
export const TRAPS: readonly string[] = [
  ...words(`
    /inner /inner/ /inner/a /inner?x //inner/a /%69nner/a /%49nner/a /inne%72/a /Inner/a /INNER/a /./inner/a
    /%2e/inner/a /;x/inner/a /inner;x/a /inner;/a /inner%3bx/a /inner%2fa /inner%252fa /x/../inner/a
    /x/..;/inner/a /%2finner/a /inner%20/a /%20inner/a /inner%00 /inner//a /inner/./a /inner%5ca /innera
    /a/inner /inne /inner%23 /inner%3fx /.//inner/a /%2569nner/a
  `),
  ...['/inner\\a'],
]
