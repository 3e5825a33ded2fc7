import t from 'tap'
import { watchExecutedFiles } from '../bench/executed.ts'

/** How many files a reader has to open for one plain paid request; `npm run bench:files` names them. */
const MOST_FILES = 52

t.test('one plain paid request runs through a number of files that a reader can hold', async (t) => {
  const { plain, stream } = await watchExecutedFiles()
  const paths = plain.map(({ path }) => path)
  t.ok(paths.length <= MOST_FILES, `${paths.length} files:\n${paths.join('\n')}`)
  t.ok(paths.includes('exchange/serve.ts'), 'the second map is on the way')
  t.ok(stream.length >= paths.length, 'a stream needs no fewer')
})
