import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { codeOf } from '../../src/errors.ts'
import { Failure } from '../command/failures.ts'

const PART_BYTES = 1024 * 1024
/** Brought to the disk so often: one large flush at the end would make everybody else's wait. */
const SYNC_EVERY_BYTES = 8 * 1024 * 1024

/** Writes these entries of the folder as `path`; on the disk when it resolves. */
export async function writeArchive(folder: string, names: readonly string[], path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  const tar = startTar(['-cf', '-', '--', ...names], folder, ['ignore', 'pipe', 'pipe'])
  try {
    const written = pipeline(streamOf(tar.child.stdout), createGzip({ level: 1 }), (source) =>
      writeThrough(file, source),
    )
    await Promise.all([written, tar.ended])
    await file.sync()
  } finally {
    tar.child.kill()
    await file.close()
  }
}

async function writeThrough(file: FileHandle, source: AsyncIterable<Buffer>): Promise<void> {
  let unsynced = 0
  for await (const chunk of source) {
    await file.writeFile(chunk)
    unsynced += chunk.length
    if (unsynced < SYNC_EVERY_BYTES) continue
    await file.datasync()
    unsynced = 0
  }
}

/** The names in it, without unpacking anything. */
export async function listArchive(path: string): Promise<string[]> {
  const tar = startTar(['-tf', '-'], '/', ['pipe', 'pipe', 'pipe'])
  const [names] = await Promise.all([
    buffer(streamOf(tar.child.stdout)),
    feed(path, tar.child.stdin),
    tar.ended,
  ])
  return names.toString('utf8').split('\n').filter(Boolean)
}

/** Unpacks it into the folder, which is empty: nothing of it lands elsewhere, owners and special modes are left out. */
export async function unpackArchive(path: string, folder: string): Promise<void> {
  const tar = startTar(['-xf', '-', '--no-same-owner', '--no-same-permissions'], folder, [
    'pipe',
    'ignore',
    'pipe',
  ])
  await Promise.all([feed(path, tar.child.stdin), tar.ended])
}

/** A tar that has seen the archive's end closes its input; whether it has seen all it says itself. */
const CLOSED = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE']

async function feed(path: string, into: Writable | null): Promise<void> {
  if (into === null) throw new Error('tar takes no input')
  try {
    await pipeline(createReadStream(path, { highWaterMark: PART_BYTES }), createGunzip(), into)
  } catch (error) {
    if (!CLOSED.includes(String(codeOf(error)))) throw error
  }
}

interface Tar {
  child: ChildProcess
  /** Rejects when it has not done all of it. */
  ended: Promise<void>
}

/** The system's own, as an operator would unpack it by hand. */
function startTar(args: readonly string[], cwd: string, stdio: ('ignore' | 'pipe')[]): Tar {
  const child = spawn('tar', args, { cwd, stdio, env: { ...process.env, LC_ALL: 'C', TAR_OPTIONS: '' } })
  return { child, ended: endOf(child) }
}

async function endOf(child: ChildProcess): Promise<void> {
  const [said, [code, signal]] = await Promise.all([text(streamOf(child.stderr)), once(child, 'close')])
  if (code !== 0) throw new Failure(`tar ended with ${code ?? signal}: ${said.trim().split('\n').at(-1)}`)
}

function streamOf(stream: Readable | null): Readable {
  if (stream === null) throw new Error('tar gives no output')
  return stream
}
