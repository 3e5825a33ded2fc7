// `npm run bench:files [-- --json]`: the files of src/ that run code during one warm paid request, by room.
import { parseArgs } from 'node:util'
import { endAllWithProcess } from './children.ts'
import { type ExecutedFile, watchExecutedFiles } from './executed.ts'

const { values: flags } = parseArgs({ options: { json: { type: 'boolean', default: false } } })

function roomOf(path: string): string {
  const at = path.lastIndexOf('/')
  return at < 0 ? '(beside the rooms)' : path.slice(0, at)
}

function tell(title: string, files: readonly ExecutedFile[]): void {
  const sum = (what: 'functions' | 'calls') => files.reduce((all, each) => all + each[what], 0)
  const rooms = Map.groupBy(files, ({ path }) => roomOf(path))
  console.log(
    `\n${title}: ${files.length} files in ${rooms.size} rooms, ${sum('functions')} functions, ${sum('calls')} calls`,
  )
  for (const [room, all] of [...rooms].sort(([, one], [, other]) => other.length - one.length)) {
    console.log(`  ${String(all.length).padStart(3)} ${room}`)
    for (const { path, functions, calls } of all)
      console.log(`      ${path.split('/').at(-1)}  ${functions} functions, ${calls} calls`)
  }
}

endAllWithProcess()
const executed = await watchExecutedFiles()
if (flags.json) console.log(JSON.stringify(executed))
else {
  tell('One plain paid request', executed.plain)
  tell('One stream of 50 events', executed.stream)
}
