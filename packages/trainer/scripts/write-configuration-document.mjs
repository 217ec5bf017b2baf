// Writes docs/configuration.md anew from the schemas: node packages/trainer/scripts/write-configuration-document.mjs (after a build)
import { writeFileSync } from 'node:fs';
import { configurationDocument } from '../dist/cli/configuration-document.js';

writeFileSync(new URL('../../../docs/configuration.md', import.meta.url), configurationDocument());
