import type { Low } from 'lowdb'
import { storeUnavailable } from '../../errors.ts'
import { OPERATION_MEMORY_MS } from '../contracts/accounts.ts'
import { UncertainWrite } from '../durable-file.ts'
import { createHealing } from './healing.ts'
import { buildTokenIndex, type TokenIndex } from './token-index.ts'
import type { Operation, TokenRecord, TokensFile } from './token-record.ts'

/** What one change does to the tokens. */
export interface Edit {
  records: readonly TokenRecord[]
  isMaster?: boolean
  operation?: Operation
}

/** Decides on the tokens as all changes before it leave them; undefined: nothing to do. May throw a refusal. */
export type Decide = (tokens: TokenIndex) => Edit | undefined

interface Change {
  decide: Decide
  resolve(edit: Edit | undefined): void
  reject(cause: unknown): void
}

/** The one way to change `tokens.json`. */
export interface TokenWriter {
  /** Durable when it resolves; when it rejects nothing has changed, or will not have once `whole` resolves. */
  write(decide: Decide): Promise<Edit | undefined>
  /** Resolves when the file holds what memory holds. */
  whole(): Promise<void>
  isWhole(): boolean
  close(): Promise<void>
}

/** One write at a time; what is asked for meanwhile goes into the next one, all together. */
export function openTokenWriter(low: Low<TokensFile>, onWritten: (edit: Edit) => void): TokenWriter {
  /** The tokens as all changes so far leave them, once there is one. */
  let draft: TokenIndex | undefined
  let waiting: Change[] = []
  let running: Promise<void> | undefined
  let isClosed = false
  const healing = createHealing(() => start())

  const writeBatch = async (): Promise<void> => {
    const batch = waiting
    waiting = []
    draft ??= buildTokenIndex(low.data.tokens)
    const after = draft
    const decided = batch.flatMap((change) => decideOn(after, change))
    const edits = decided.flatMap(({ edit }) => (edit === undefined ? [] : [edit]))
    const before = low.data
    try {
      if (edits.length > 0 || healing.isRunning()) {
        low.data = changed(before, after, edits)
        await low.write()
        healing.end()
      }
      for (const edit of edits) onWritten(edit)
      for (const { change, edit } of decided) change.resolve(edit)
    } catch (cause) {
      low.data = before
      draft = undefined
      if (cause instanceof UncertainWrite || healing.isRunning()) healing.begin()
      for (const { change } of decided)
        change.reject(storeUnavailable('The token could not be saved', { cause }))
    }
  }
  const run = async (): Promise<void> => {
    while (waiting.length > 0 || healing.isDue()) await writeBatch()
    running = undefined
  }
  const start = () => {
    running ??= run()
  }
  return {
    write: async (decide) => {
      if (isClosed) throw storeUnavailable('The store is closed')
      return new Promise((resolve, reject) => {
        waiting.push({ decide, resolve, reject })
        start()
      })
    },
    whole: healing.ended,
    isWhole: () => !healing.isRunning(),
    close: async () => {
      isClosed = true
      await running
      if (healing.isRunning()) await writeBatch()
      healing.end()
    },
  }
}

function decideOn(draft: TokenIndex, change: Change): { change: Change; edit: Edit | undefined }[] {
  try {
    const edit = change.decide(draft)
    for (const record of edit?.records ?? []) draft.put(record)
    return [{ change, edit }]
  } catch (refusal) {
    change.reject(refusal)
    return []
  }
}

/** `low.data` is replaced, never changed in place, so that a failed write leaves it as it was. */
function changed(before: TokensFile, draft: TokenIndex, edits: readonly Edit[]): TokensFile {
  const master = edits.findLast(({ isMaster }) => isMaster)?.records[0]?.id ?? before.master
  const added = edits.flatMap(({ operation }) => (operation === undefined ? [] : [operation]))
  const newest = added.reduce((latest, { at }) => Math.max(latest, at), 0)
  const kept = (before.operations ?? []).filter(({ at }) => at > newest - OPERATION_MEMORY_MS)
  return {
    ...before,
    ...(master === undefined ? {} : { master }),
    tokens: [...draft.all()],
    operations: [...kept, ...added],
  }
}
