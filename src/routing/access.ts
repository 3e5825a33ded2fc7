/** Whether a token limited to these names and patterns (`gpt-*`; none: no limit) may use the model. */
export const isModelAllowed = (patterns: readonly string[], model: string): boolean =>
  patterns.length === 0 || patterns.some((pattern) => matches(pattern, model))

const matches = (pattern: string, model: string): boolean => {
  const star = pattern.indexOf('*')
  if (star === -1) return pattern === model
  const head = pattern.slice(0, star)
  const tail = pattern.slice(star + 1)
  return model.length >= head.length + tail.length && model.startsWith(head) && model.endsWith(tail)
}
