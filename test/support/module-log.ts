// This is loaded by `node --import`: it writes the address of every module that is asked for into the file
// `MODULE_LOG`, and at the end which of Node's own were loaded.
import { appendFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const path = process.env.MODULE_LOG ?? ''

registerHooks({
  resolve: (specifier, context, next) => {
    const found = next(specifier, context)
    appendFileSync(path, `${found.url}\n`)
    return found
  },
})

process.on('exit', () => {
  const own: unknown = Reflect.get(process, 'moduleLoadList')
  if (Array.isArray(own)) appendFileSync(path, own.map((name) => `${name}\n`).join(''))
})
