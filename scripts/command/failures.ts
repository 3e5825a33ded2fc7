/** The command was called wrongly: exit code 2. */
export class Misuse extends Error {}

/** The command could not do what it was asked: exit code 1. */
export class Failure extends Error {}

/** Nobody knows whether the change was made. */
export class NoAnswer extends Failure {}
