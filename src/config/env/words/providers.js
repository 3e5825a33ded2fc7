// @ts-check

/** @type {readonly import('./words.js').Group[]} */
export const providerWords = [
  {
    title: 'Providers',
    intro:
      'One without a key does not exist. Their names are also the prefixes of the variables, in lower case.',
    settings: {
      ...provider('OPENAI_ORIGINAL', 'OpenAI itself.'),
      ...provider('OPENAI', "Any service that speaks OpenAI's API."),
      ...provider('FREE_OPENAI', "Reseller of OpenAI's models; mind the name of its key.", 'FREE_OPENAI_KEY'),
      ...provider('AIGUOGUO', "Reseller of OpenAI's models."),
      ...provider('DEEPSEEK', 'DeepSeek.'),
      ...provider('OPENROUTER', 'OpenRouter.'),
      ...provider('ANTHROPIC', 'Anthropic.'),
      ...provider('GEMINI', 'Google Gemini.'),
      ...provider('GROQ', 'Groq.'),
      ...provider('MISTRAL', 'Mistral.'),
      ...provider('XAI', 'xAI.'),
      DEMO_PROVIDER: {
        means:
          'The offline echo provider, which serves the model `demo`. `auto`: while no provider has a key.',
      },
    },
  },
]

/**
 * @param {string} prefix @param {string} means @param {string} [key]
 * @returns {Record<string, import('./words.js').Words>}
 */
function provider(prefix, means, key = `${prefix}_API_KEY`) {
  return {
    [key]: { means, expects: 'its key', unset: 'none', isSecret: true },
    [`${prefix}_BASE_URL`]: { means: '', expects: 'another address for it' },
  }
}
