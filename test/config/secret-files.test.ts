import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SecretFiles } from '../../src/config/env/secret-files.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { temporaryFolder } from '../support/gateway.ts'
import { waitUntil } from '../support/journey.ts'

t.test('what could not be read for a while is read again, though its file stays as it is', async (test) => {
  const path = join(temporaryFolder(test), 'key')
  writeFileSync(path, 'first')
  const files = new SecretFiles({ KEY_FILE: path }, ['KEY'])
  test.teardown(() => files.close())
  let isBusy = true
  const told: string[] = []
  files.watch({
    read: ({ KEY = '' }) => {
      if (isBusy) throw new SettingsError(['this process may open no more files'])
      return KEY
    },
    onChange: (key) => told.push(key),
    onMistake: (name, mistake) => told.push(`${name}: ${mistake}`),
    onMended: (name) => told.push(`${name} mended`),
  })
  writeFileSync(path, 'second')
  await waitUntil(
    async () => told,
    ({ length }) => length > 0,
  )
  isBusy = false
  await waitUntil(
    async () => told,
    ({ length }) => length > 1,
  )
  test.same(told, ['KEY: this process may open no more files', 'second'])
  test.equal(files.env().KEY, 'second')
})
