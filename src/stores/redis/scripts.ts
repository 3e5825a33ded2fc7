import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A Lua script: what it does happens as one step, or not at all. */
export interface Script {
  text: string
  sha: string
}

function read(name: string): string {
  return readFileSync(join(import.meta.dirname, 'lua', `${name}.lua`), 'utf8')
}

function load(name: string): Script {
  const text = read('common') + read(name)
  return { text, sha: hash('sha1', text) }
}

/** Every script, read once when the store opens. */
export function loadScripts() {
  return {
    find: load('find'),
    mint: load('mint'),
    change: load('change'),
    hold: load('hold'),
    raise: load('raise'),
    mark: load('mark'),
    settle: load('settle'),
    adjust: load('adjust'),
    enter: load('enter'),
    claim: load('claim'),
    orphan: load('orphan'),
    unclaim: load('unclaim'),
    forget: load('forget'),
    memory: load('memory'),
    books: load('books'),
    note: load('note'),
    beat: load('beat'),
    leave: load('leave'),
    count: load('count'),
    carry: load('carry'),
    carried: load('carried'),
    release: load('release'),
  }
}

export type Scripts = ReturnType<typeof loadScripts>
