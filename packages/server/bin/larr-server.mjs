#!/usr/bin/env node
const { start } = await import('@larr/core/start').catch(() => {
  process.stderr.write('larr-server: the npm packages are not installed: run `npm run setup` in the project\n');
  process.exit(1);
});
await start('larr-server', new URL('../dist/main.js', import.meta.url));
