/** What is written into a `.env`, and what it means to everybody, or why the start is refused. */
export interface EnvCase {
  what: string
  file: string | Buffer
  /** What all readers take it for. */
  means?: Record<string, string>
  refused?: RegExp
  /** All readers agree, and yet nobody can have meant it. */
  isAgreed?: boolean
}

const utf16 = (text: string, mark = '\uFEFF') => Buffer.from(`${mark}${text}`, 'utf16le')

/** The same table is read by our reader alone (test/config) and by the real readers side by side (test/edge). */
export const ENV_CASES: readonly EnvCase[] = [
  // What means the same to all.
  { what: 'plain values', file: 'PORT=9000\nLOG_LEVEL=warn\n', means: { PORT: '9000', LOG_LEVEL: 'warn' } },
  { what: 'no line end at the end', file: 'PORT=9000', means: { PORT: '9000' } },
  { what: 'a byte-order mark', file: '\uFEFFPORT=9000\nHOST=a\n', means: { PORT: '9000', HOST: 'a' } },
  {
    what: 'CRLF',
    file: 'PORT=9000\r\nHOST=\r\nDB_DIR="x"\r\n',
    means: { PORT: '9000', HOST: '', DB_DIR: 'x' },
  },
  { what: 'comments and empty lines', file: '# it\'s "one\n\n  # two\n\t\nPORT=1\n', means: { PORT: '1' } },
  { what: '# inside a value', file: 'ADMIN_FIRST=aB3d#StUv', means: { ADMIN_FIRST: 'aB3d#StUv' } },
  { what: '# at the begin of a value', file: 'ADMIN_FIRST=#aB3d', means: { ADMIN_FIRST: '#aB3d' } },
  {
    what: 'a comment behind a value',
    file: 'DOMAIN1=x.y   # primary\nPORT=1 #two',
    means: { DOMAIN1: 'x.y', PORT: '1' },
  },
  { what: 'a comment after a tab and a blank', file: 'PORT=1\t # one', means: { PORT: '1' } },
  { what: 'double quotes', file: 'ADMIN_FIRST="aB3d#StUv"', means: { ADMIN_FIRST: 'aB3d#StUv' } },
  { what: 'single quotes', file: "ADMIN_FIRST='aB3d#StUv'", means: { ADMIN_FIRST: 'aB3d#StUv' } },
  { what: '$ in single quotes', file: "ADMIN_FIRST='a$b$1$$c'", means: { ADMIN_FIRST: 'a$b$1$$c' } },
  {
    what: 'a comment behind quotes',
    file: "PORT=\"1\" # it's one\nHOST='a'#b",
    means: { PORT: '1', HOST: 'a' },
  },
  { what: 'empty quotes', file: 'PORT=""\nHOST=\'\'\nDB_DIR=b', means: { PORT: '', HOST: '', DB_DIR: 'b' } },
  { what: 'blanks around a value', file: 'PORT=  9000  \nHOST=\ta\t\n', means: { PORT: '9000', HOST: 'a' } },
  { what: 'blanks before a name', file: '  PORT=1\n\tHOST=a', means: { PORT: '1', HOST: 'a' } },
  {
    what: 'blanks, = and : in a value',
    file: 'DB_DIR=my files\nREDIS_URL=redis://a:b@c:1/0?x=y',
    means: { DB_DIR: 'my files', REDIS_URL: 'redis://a:b@c:1/0?x=y' },
  },
  { what: 'quotes inside a value', file: 'ADMIN_FIRST=a"b\'c', means: { ADMIN_FIRST: 'a"b\'c' } },
  { what: 'a backslash without quotes', file: 'DB_DIR=a\\nb\\#c', means: { DB_DIR: 'a\\nb\\#c' } },
  { what: 'letters of other alphabets', file: 'DB_DIR=données', means: { DB_DIR: 'données' } },
  { what: 'empty, then set', file: 'PORT=\nPORT=9000', means: { PORT: '9000' } },
  { what: 'the same twice', file: 'PORT=9000\nPORT=9000', means: { PORT: '9000' } },
  {
    what: 'names of other programs',
    file: 'my.own-name=1\nNODE_ENV=production',
    means: { 'my.own-name': '1', NODE_ENV: 'production' },
  },
  {
    what: '$ before no letter',
    file: 'ADMIN_FIRST=a$1$\nDB_DIR="a$.b"',
    means: { ADMIN_FIRST: 'a$1$', DB_DIR: 'a$.b' },
  },
  {
    what: 'what cannot be seen in a comment and in an empty line',
    file: 'PORT=1 # \u{1F468}\u200D\u{1F469}, a\u00A0b\n\u00A0\n \u3000\nHOST="a" #\u00A0b',
    means: { PORT: '1', HOST: 'a' },
  },
  {
    what: "what cannot be seen in another program's value",
    file: 'MOTTO=a\u00A0b \u{1F468}\u200D\u{1F469}\nPORT=1',
    means: { MOTTO: 'a\u00A0b \u{1F468}\u200D\u{1F469}', PORT: '1' },
  },
  { what: 'a name that begins with a digit', file: '1PORT=9000', means: { '1PORT': '9000' } },
  // What does not.
  { what: 'UTF-16, little end first', file: utf16('PORT=9000\n'), refused: /^is UTF-16.*UTF-8/ },
  { what: 'UTF-16, big end first', file: utf16('PORT=9000\n').swap16(), refused: /^is UTF-16/ },
  { what: 'UTF-16 without a mark', file: utf16('PORT=9000\n', ''), refused: /^is UTF-16/ },
  {
    what: 'Latin-1',
    file: Buffer.from('# caf\n# caf\xe9\nPORT=1\n', 'latin1'),
    refused: /^line 2 is not UTF-8/,
  },
  { what: 'lines of an old Mac', file: 'PORT=1\rHOST=a\r', refused: /^has line ends of an old Mac/ },
  {
    what: 'export',
    file: 'HOST=a\nexport PORT=9000',
    refused: /^line 2 begins with "export".*leave that out/,
  },
  { what: 'a colon', file: 'PORT: 9000', refused: /^line 1 has a colon.*write PORT=value/ },
  {
    what: 'a colon and =',
    file: 'REDIS_URL: redis://a?b=c',
    refused: /^line 1 has a colon.*write REDIS_URL=value/,
  },
  { what: 'blanks around =', file: 'PORT = 9000', refused: /^line 1 has a blank .*write PORT=value/ },
  { what: 'a name in quotes', file: '"PORT"=9000', refused: /^line 1 has .*quotes.*write PORT=value/ },
  { what: 'a name in single quotes', file: "'PORT'=9000", refused: /^line 1 has .*quotes.*write PORT=value/ },
  { what: 'no name', file: 'HOST=a\n=9000', refused: /^line 2 has no name/ },
  { what: 'a name with blanks', file: 'MY PORT=9000', refused: /^line 1 has no name/ },
  { what: 'words', file: 'HOST=a\nsk-123 is my key', refused: /^line 2 is no NAME=value/ },
  { what: '$ without quotes', file: 'ADMIN_FIRST=abc$def', refused: /^line 1, ADMIN_FIRST: .*single quotes/ },
  { what: '$$', file: 'ADMIN_FIRST=abc$$def', refused: /^line 1, ADMIN_FIRST: .*single quotes/ },
  { what: '$ in double quotes', file: 'ADMIN_FIRST="abc$def"', refused: /double quotes: use single ones/ },
  {
    what: '${ without quotes',
    file: `HOST=a\nADMIN_FIRST=x\${HOST}`,
    refused: /^line 2, ADMIN_FIRST: .*<NAME>_FILE/,
  },
  {
    what: '${ in single quotes',
    file: `HOST=a\nADMIN_FIRST='x\${HOST}'`,
    refused: /^line 2, ADMIN_FIRST: Compose 1.*_FILE/,
  },
  {
    what: 'an open double quote',
    file: 'ADMIN_FIRST="abc\nPORT=9000\n',
    refused: /^line 1, ADMIN_FIRST: its quote is not closed/,
  },
  {
    what: 'an open single quote',
    file: "ADMIN_FIRST='abc\nPORT=9000\n",
    refused: /^line 1, ADMIN_FIRST: its quote is not closed/,
  },
  {
    what: 'a value of two lines',
    file: 'ADMIN_FIRST="abc\ndef"\nPORT=1\n',
    refused: /^line 1, ADMIN_FIRST: its quote is not closed/,
  },
  { what: 'a backslash in double quotes', file: 'DB_DIR="a\\nb"', refused: /backslash in quotes/ },
  { what: 'a backslash in single quotes', file: "DB_DIR='a\\\\b'", refused: /backslash in quotes/ },
  { what: 'an escaped quote', file: 'DB_DIR="a\\"b"', refused: /backslash in quotes/ },
  { what: 'quotes in quotes', file: 'ADMIN_FIRST=\'"abc"\'', refused: /quotes in quotes/ },
  { what: 'a blank and # in quotes', file: 'DB_DIR="a # b"', refused: /begins a comment for some/ },
  { what: 'letters behind a closing quote', file: 'PORT="90"00', refused: /behind the closing quote/ },
  { what: 'a comment after a tab', file: 'PORT=9000\t# one', refused: /tab before "#"/ },
  {
    what: 'a comment in place of a value',
    file: 'PORT= # one',
    refused: /comment behind "=".*line of its own/,
    isAgreed: true,
  },
  { what: 'a comment right behind =', file: 'PORT=# one', refused: /comment behind "="/, isAgreed: true },
  { what: 'backticks', file: 'ADMIN_FIRST=`abc`', refused: /backticks/, isAgreed: true },
  { what: 'blanks inside quotes', file: 'ADMIN_FIRST=" abc "', refused: /blanks inside the quotes/ },
  {
    what: 'typographic quotes',
    file: 'ADMIN_FIRST=\u201Cabc\u201D',
    refused: /typographic quotes/,
    isAgreed: true,
  },
  { what: 'a command', file: 'ADMIN_FIRST=$(abc -d)', refused: /no reader runs a command/, isAgreed: true },
  {
    what: 'a command in quotes',
    file: 'ADMIN_FIRST="$(abc -d)"',
    refused: /no reader runs a command/,
    isAgreed: true,
  },
  { what: 'set', file: 'set PORT=9000', refused: /^line 1 begins with "set"/ },
  { what: '$env:', file: '$env:PORT="9000"', refused: /^line 1 begins with "\$env:"/ },
  {
    what: 'two values',
    file: 'PORT=1\nHOST=a\nPORT=2',
    refused: /^line 3, PORT: .*line 1 as well/,
    isAgreed: true,
  },
  {
    what: 'set, then empty',
    file: 'PORT=1\nPORT=',
    refused: /^line 2, PORT: .*line 1 as well/,
    isAgreed: true,
  },
  {
    what: 'a zero-width blank',
    file: 'ADMIN_FIRST=abc\u200Bdef',
    refused: /^line 1, ADMIN_FIRST: it holds .*U\+200B, at place 16/,
    isAgreed: true,
  },
  {
    what: 'a byte-order mark in a value',
    file: 'ADMIN_FIRST=\uFEFFabcdef',
    refused: /^line 1, ADMIN_FIRST: it holds .*U\+FEFF, at place 13/,
  },
  {
    what: 'a blank that does not break at the end',
    file: 'PORT=9000\u00A0 # one\nHOST=a\u00A0',
    means: { PORT: '9000', HOST: 'a' },
  },
  {
    what: 'a blank that does not break before a quote',
    file: 'PORT=\u00A0"abc',
    refused: /U\+00A0, at place 6/,
  },
  {
    what: 'a blank that does not break',
    file: 'ADMIN_FIRST=abc\u00A0def',
    refused: /U\+00A0/,
    isAgreed: true,
  },
  { what: 'a name with a zero-width blank', file: '\u200BPORT=9000', refused: /U\+200B, at place 1/ },
  { what: 'a bell', file: 'ADMIN_FIRST=abc\u0007def', refused: /U\+0007/, isAgreed: true },
  { what: 'a name alone', file: 'HOST=a\nPORT', refused: /^line 2 is a name and no value/ },
  { what: 'a line of 64 KiB', file: `ADMIN_FIRST=${'a'.repeat(65_536)}`, refused: /longer than 64 KiB/ },
]
