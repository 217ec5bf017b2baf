// Writes src/api.generated.ts from the API of @larr/server as it is built now: node scripts/write-types.mjs
import { writeFileSync } from 'node:fs';
import { wholeApi } from '@larr/server/whole-api';
import { typesFromOpenApi } from './types-from-openapi.mjs';

const file = new URL('../src/api.generated.ts', import.meta.url);
writeFileSync(file, typesFromOpenApi(await wholeApi()));
