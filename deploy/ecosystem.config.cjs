// The gateway under pm2: "pm2 start deploy/ecosystem.config.cjs", from anywhere.
const { join } = require('node:path')

const root = join(__dirname, '..')

module.exports = {
  apps: [
    {
      name: 'llm-api-gateway',
      // Settings are read from .env in this folder.
      cwd: root,
      script: join(root, 'src', 'server.js'),
      interpreter: join(root, 'node_modules', '.bin', 'node'),
      node_args: '--max-semi-space-size=16 --initial-old-space-size=128 --no-allocation-site-pretenuring',
      // One process for each DB_DIR: no cluster.
      exec_mode: 'fork',
      instances: 1,
      // The default kills after 1.6 s. More than DRAIN_DELAY_MS + DRAIN_TIMEOUT_MS + 5 s: streams may end.
      kill_timeout: 45000,
      // Counts as started once it listens.
      wait_ready: true,
      listen_timeout: 30000,
      // Wrong settings, or a store that cannot be trusted: starting again does not help, its error says what does.
      stop_exit_codes: [78],
    },
  ],
}
