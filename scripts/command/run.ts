import { type Command, CommanderError } from 'commander'
import { SettingsError } from '../../src/config/mistakes.ts'
import { GatewayError } from '../../src/errors.ts'
import { StoreError } from '../../src/stores/open.ts'
import { Failure, Misuse } from './failures.ts'

export const [DONE, FAILED, MISUSED] = [0, 1, 2]

/** Parses the flags and does the work, which returns the exit code; whatever goes wrong is one line on stderr. */
export async function runCommand<T extends object>(
  command: Command,
  args: readonly string[],
  work: (flags: T) => Promise<number>,
): Promise<number> {
  command
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })
  try {
    return await work(command.parse(args, { from: 'user' }).opts<T>())
  } catch (error) {
    return report(command.name(), error)
  }
}

const EXPECTED = [Failure, GatewayError, SettingsError, StoreError]

function report(name: string, error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return DONE
  if (!(error instanceof Error)) throw error
  const isMisuse = error instanceof CommanderError || error instanceof Misuse
  const isExpected = EXPECTED.some((kind) => error instanceof kind)
  const text = isExpected || isMisuse ? error.message : `failed: ${error.message}`
  process.stderr.write(`${name}: ${text.replace(/^error: /, '').replaceAll(/\s*\n\s*/g, ' ')}\n`)
  return isMisuse ? MISUSED : FAILED
}
