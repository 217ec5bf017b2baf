#!/usr/bin/env node
const { start } = await import('@larr/core/start').catch(() => {
  process.stderr.write('larr: the npm packages are not installed: run `npm run setup` in the project\n');
  process.exit(1);
});
await start('larr', new URL('../dist/cli/main.js', import.meta.url));
