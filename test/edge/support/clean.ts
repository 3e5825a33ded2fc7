import { TEST_NODE_IMAGE, TEST_PYTHON_IMAGE, whyNoEngine } from './engine.ts'
import { run } from './shell.ts'

// What the suite has built, once it is over; stand-ins and pulled images stay.
if ((await whyNoEngine()) === undefined) {
  const examples = ['api-gateway:example', 'example-services', 'example-backend', 'example-internal-api']
  for (const image of ['api-gateway:prod', ...examples, TEST_NODE_IMAGE, TEST_PYTHON_IMAGE])
    await run('docker', ['rmi', '-f', image])
  await run('docker', [
    'image',
    'prune',
    '-f',
    '--filter',
    'label=org.opencontainers.image.title=llm-api-gateway',
  ])
}
